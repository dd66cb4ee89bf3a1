// All that cocotb sees: a clock that needs no Python, and the end of the run. The accelerator and
// its harness are a model of their own behind dcp_run, which simulates some of its cycles; so this
// top is compiled once for all designs, and no signal is copied between the two.
// cocotb ends the simulation as soon as `done` rises; where it did not start, nobody does, so the
// top ends it after a while, and the missing results tell.
module DcpTop;
  timeunit 1ns; timeprecision 1ns;

  localparam CYCLES = 1000;
  localparam PATIENCE = 100;

  import "DPI-C" context function int dcp_run(input int cycles);

  reg done  /* verilator public_flat_rd */;

  int idle = 0;

  initial done = dcp_run(0) != 0;
  always #CYCLES begin
    if (!done) done = dcp_run(CYCLES) != 0;
    else if (idle < PATIENCE) idle = idle + 1;
    else begin
      $display("the run is over, but cocotb does not end the simulation: did it start?");
      $finish;
    end
  end
endmodule
