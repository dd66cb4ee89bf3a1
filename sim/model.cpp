// The accelerator and its harness as one shared object: two calls, no signals.
#include <memory>

#include "VDcpHarness.h"
#include "verilated.h"

namespace {
std::unique_ptr<VerilatedContext> context;
std::unique_ptr<VDcpHarness> model;
}  // namespace

/// Takes the simulator's command line, for the harness's plusargs.
extern "C" __attribute__((visibility("default"))) void dcp_model_open(int argc, char** argv) {
    context.reset(new VerilatedContext);
    context->commandArgs(argc, argv);
    model.reset(new VDcpHarness{context.get()});
    model->clock = 0;
    model->eval();
}

/// 1 if the harness is done, after at most `cycles` more cycles.
extern "C" __attribute__((visibility("default"))) int dcp_model_run(int cycles) {
    for (int n = 0; n < cycles && !model->done; ++n) {
        model->clock = 1;
        model->eval();
        model->clock = 0;
        model->eval();
    }
    if (model->done) model->final();
    return model->done;
}
