// Loads the shared object that +model names and runs it, called from the top that cocotb sees.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "verilated.h"

namespace {

// plusargs of the harness
const char* const handed_on[] = {"words=",        "out=",        "report=",  "timeout=",
                                 "source_stall=", "sink_stall=", "longest=", "seed="};

void* symbol(void* library, const char* name) {
    void* const found = library ? dlsym(library, name) : nullptr;
    if (found) return found;
    std::fprintf(stderr, "dcp: cannot load the model: %s\n", dlerror());
    std::exit(1);
}

void* open_model() {
    const std::string given = Verilated::commandArgsPlusMatch("model=");
    const std::string path = given.size() > 7 ? given.substr(7) : std::string{"(no +model)"};
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const open = symbol(library, "dcp_model_open");
    std::vector<std::string> words{"model"};
    for (const char* const name : handed_on) {
        const std::string word = Verilated::commandArgsPlusMatch(name);
        if (!word.empty()) words.push_back(word);
    }
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(&word[0]);
    reinterpret_cast<void (*)(int, char**)>(open)(static_cast<int>(pointers.size()),
                                                  pointers.data());
    return library;
}

}  // namespace

extern "C" int dcp_run(int cycles) {
    static void* const library = open_model();
    static const auto run = reinterpret_cast<int (*)(int)>(symbol(library, "dcp_model_run"));
    return run(cycles);
}
