// A model without a content, compiled to have Verilator's run-time library by itself.
module DcpHarness (
    input  wire clock,
    output wire done
);
  assign done = clock;
endmodule
