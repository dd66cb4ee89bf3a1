// All that cocotb sees: a clock that needs no Python, and the end of the run. The accelerator and
// its harness are a model of their own behind dcp_run, which simulates some of its cycles; so this
// top is compiled once for all designs, and no signal is copied between the two.
module DcpTop;
  timeunit 1ns; timeprecision 1ns;

  localparam CYCLES = 1000;

  import "DPI-C" context function int dcp_run(input int cycles);

  reg done  /* verilator public_flat_rd */;

  initial done = dcp_run(0) != 0;
  always #CYCLES if (!done) done = dcp_run(CYCLES) != 0;
endmodule
