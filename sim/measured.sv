// A memory of its own between the harness and the accelerator, and a count of the bus's toggles.
// With `WORDS.read` and `WORDS.write` beside the stream's file (sim/dram.py) words come and go
// as a DRAM lets them; without, the streams pass through untouched and cycles stay the same.
//
// WORDS.read, WORDS.write: little-endian uint16. First four: cycles between refreshes (0: none),
// cycles of a refresh, FIFO in beats (at most 256), 0. Then for each word of the stream the cycles
// that the memory waits before it.
//
// Generated around it (sim/toggles.py): module DcpMeasured, which gives it the ports.

module DcpMemory #(
    parameter BITS = 128,
    parameter SUFFIX = ".read"
) (
    input  wire clock,
    input  wire reset,
    input  wire from_valid,
    output wire from_ready,
    input  wire [BITS-1:0] from_data,
    output wire to_valid,
    input  wire to_ready,
    output wire [BITS-1:0] to_data,
    output wire empty
);
  localparam BEATS = 128 / BITS;
  string name;
  integer file, got;
  reg slow;
  reg [7:0] raw[0:1];
  reg [15:0] refresh_every, refresh_for, depth, spare;
  reg [15:0] waiting, since;
  reg [BITS-1:0] fifo[0:255];
  reg [7:0] head, tail;
  reg [8:0] count;
  integer beat;

  function automatic [15:0] next_value(input integer from);
    begin
      if ($fread(raw, from) == 2) next_value = {raw[1], raw[0]};
      else next_value = 0;
    end
  endfunction

  // memory side first (".read") or last (".write"): the slow side of the FIFO
  localparam FILLS = SUFFIX == ".read";
  wire refreshing = refresh_every != 0 && since < refresh_for;
  wire moves = waiting == 0 && !refreshing;
  wire may_fill = count < depth[8:0] && (!FILLS || moves);
  wire may_take = count != 0 && (FILLS || moves);
  wire fills = slow && from_valid && may_fill && !reset;
  wire takes = slow && to_ready && may_take && !reset;
  assign from_ready = slow ? may_fill && !reset : to_ready;
  assign to_valid = slow ? may_take && !reset : from_valid;
  assign to_data = slow ? fifo[tail] : from_data;
  assign empty = !slow || count == 0;

  initial begin
    slow = 0;
    waiting = 0;
    since = 0;
    head = 0;
    tail = 0;
    count = 0;
    beat = 0;
    refresh_every = 0;
    refresh_for = 0;
    depth = 0;
    if ($value$plusargs("words=%s", name)) begin
      file = $fopen({name, SUFFIX}, "rb");
      if (file != 0) begin
        slow = 1;
        refresh_every = next_value(file);
        refresh_for = next_value(file);
        depth = next_value(file);
        spare = next_value(file);
        since = refresh_for;  // the first refresh is a whole interval away
        waiting = next_value(file);
      end
    end
  end

  always @(posedge clock)
    if (slow && !reset) begin
      if (refresh_every != 0) since <= since + 1 == refresh_every ? 0 : since + 1;
      if (fills) begin
        fifo[head] <= from_data;
        head <= head + 1;
      end
      if (takes) tail <= tail + 1;
      count <= count + {8'd0, fills} - {8'd0, takes};
      if (FILLS ? fills : takes) begin
        beat = beat + 1;
        if (beat == BEATS) begin
          beat = 0;
          waiting <= next_value(file);
        end
      end else if (waiting != 0 && !refreshing) waiting <= waiting - 1;
    end
endmodule

// Toggled bits of a value from one cycle in which `take` holds to the next; from 0 at first.
module DcpToggles #(
    parameter WIDTH = 1,
    parameter NAME = ""
) (
    input wire clock,
    input wire take,
    input wire [WIDTH-1:0] value
);
  reg [WIDTH-1:0] last;
  reg [63:0] total;
  initial begin
    last = 0;
    total = 0;
  end
  always @(posedge clock)
    if (take) begin
      last <= value;
      total <= total + {32'd0, $countones(last ^ value)};
    end
  string report;
  integer file;
  final
    if (total != 0 && $value$plusargs("report=%s", report)) begin
      file = $fopen({report, ".toggles"}, "a");
      $fwrite(file, "%m %s %0d\n", NAME, total);
      $fclose(file);
    end
endmodule

// Toggled partial products of a multiplier: the bits of the and-array of both operands.
module DcpProducts #(
    parameter WIDTH = 8
) (
    input wire clock,
    input wire [WIDTH-1:0] a,
    input wire [WIDTH-1:0] b
);
  reg [WIDTH-1:0] last_a, last_b;
  reg [63:0] total;
  initial begin
    last_a = 0;
    last_b = 0;
    total = 0;
  end
  always @(posedge clock)
    if (a != last_a || b != last_b) begin
      last_a <= a;
      last_b <= b;
      total <= total
          + {32'd0, $countones(b & last_b) * $countones(a ^ last_a)}
          + {32'd0, $countones(b & ~last_b) * $countones(a)}
          + {32'd0, $countones(~b & last_b) * $countones(last_a)};
    end
  string report;
  integer file;
  final
    if (total != 0 && $value$plusargs("report=%s", report)) begin
      file = $fopen({report, ".toggles"}, "a");
      $fwrite(file, "%m partial_product %0d\n", total);
      $fclose(file);
    end
endmodule
