// Drives one accelerator on its own, so that no signal but the clock crosses the border of the
// verilated model: a source and a sink of stream words, and a master of the register bus.
//
// Plusargs: +words=FILE   stream, 16 bytes a word, highest byte first (as $fread takes them)
//           +out=FILE     output beats, lowest byte first
//           +report=FILE  "name value" lines, in decimal
//           +timeout=N    cycles after which it gives up
//           +source_stall=P +sink_stall=P  chance of a stall, in 1/65536 per cycle
//           +longest=N    a stall lasts 1 .. N cycles
//           +seed=N       of the stalls, not 0
// Defines:  DCP_TOP       name of the accelerator's module
//           DCP_TLAST     it has a port m_axis_tlast

module DcpHarness #(
    parameter IN_BITS  = 128,
    parameter OUT_BITS = 128,
    parameter COUNTERS = 23
) (
    input  wire clock,
    output reg  done
);

  localparam CHUNK = 256;  // words read from the file at a time
  localparam IN_BEATS = 128 / IN_BITS;
  localparam RESET_CYCLES = 8;
  localparam POLL_CYCLES = 24;   // between two reads of STATUS
  localparam LINGER_CYCLES = 64; // after the end, for beats that should not come
  localparam GRACE_CYCLES = 4096; // to read the registers after a time-out

  localparam [7:0] CTRL = 8'h00, STATUS = 8'h04, LATENCY = 8'h08, CHECKSUM = 8'h0c, ID = 8'h10,
                   COUNTER = 8'h20;

  // --- time, files, reset -------------------------------------------------------------

  string  words_name, out_name, report_name;
  integer words_file, out_file, report_file;
  reg [63:0] cycle, timeout, deadline;
  reg [31:0] source_stall, sink_stall, longest, random;
  reg reset;

  initial begin
    cycle = 0;
    done = 0;
    reset = 1;
    timeout = 64'd1000000;
    source_stall = 0;
    sink_stall = 0;
    longest = 1;
    random = 1;
    if (!$value$plusargs("words=%s", words_name)) $fatal(1, "no +words");
    if (!$value$plusargs("out=%s", out_name)) $fatal(1, "no +out");
    if (!$value$plusargs("report=%s", report_name)) $fatal(1, "no +report");
    if ($value$plusargs("timeout=%d", timeout)) begin end
    if ($value$plusargs("source_stall=%d", source_stall)) begin end
    if ($value$plusargs("sink_stall=%d", sink_stall)) begin end
    if ($value$plusargs("longest=%d", longest)) begin end
    if ($value$plusargs("seed=%d", random)) begin end
    deadline = timeout + GRACE_CYCLES;
    words_file = $fopen(words_name, "rb");
    out_file = $fopen(out_name, "wb");
    report_file = $fopen(report_name, "w");
    if (words_file == 0) $fatal(1, "cannot read %s", words_name);
    if (out_file == 0) $fatal(1, "cannot write %s", out_name);
    if (report_file == 0) $fatal(1, "cannot write %s", report_name);
  end

  always @(posedge clock) begin
    cycle <= cycle + 1;
    reset <= cycle < RESET_CYCLES;
  end

  function automatic [31:0] xorshift(input [31:0] seed);
    reg [31:0] x;
    begin
      x = seed ^ (seed << 13);
      x = x ^ (x >> 17);
      xorshift = x ^ (x << 5);
    end
  endfunction

  always @(posedge clock) if ((source_stall | sink_stall) != 0) random <= xorshift(random);

  // --- source -------------------------------------------------------------------------

  reg [127:0] chunk[0:CHUNK-1];
  integer chunk_words, chunk_next, in_beat;
  reg in_end;
  reg in_valid;
  reg [IN_BITS-1:0] in_data;
  wire in_ready;
  reg [31:0] in_pause;
  reg [63:0] in_beats, first_in;

  initial begin
    chunk_words = 0;
    chunk_next = 0;
    in_beat = 0;
    in_end = 0;
    in_valid = 0;
    in_data = 0;
    in_pause = 0;
    in_beats = 0;
    first_in = 0;
  end

  always @(posedge clock) begin
    if (in_valid && in_ready) begin
      if (in_beats == 0) first_in <= cycle;
      in_beats <= in_beats + 1;
    end
    if (in_pause != 0) in_pause <= in_pause - 1;
    else if ({16'd0, random[15:0]} < source_stall) in_pause <= {16'd0, random[31:16]} % longest;
    if (!reset && (!in_valid || in_ready)) begin
      if (chunk_next == chunk_words && !in_end) begin
        chunk_words = $fread(chunk, words_file) / 16;
        chunk_next = 0;
        in_end = chunk_words == 0;
      end
      in_valid <= 0;
      if (!in_end && in_pause == 0 && {16'd0, random[15:0]} >= source_stall) begin
        in_valid <= 1;
        in_data <= chunk[chunk_next[7:0]][in_beat*IN_BITS+:IN_BITS];
        in_beat = in_beat + 1;
        if (in_beat == IN_BEATS) begin
          in_beat = 0;
          chunk_next = chunk_next + 1;
        end
      end
    end
  end

  // --- sink ---------------------------------------------------------------------------

  wire out_valid;
  wire [OUT_BITS-1:0] out_data;
  reg out_ready, out_shy, out_held;
  reg [OUT_BITS-1:0] out_before;
  reg [31:0] out_pause;
  reg [63:0] out_beats, last_out;
  reg dropped, changed;  // an offered beat was withdrawn, or altered, before it was taken

  initial begin
    out_ready = 1;
    out_shy = 0;
    out_held = 0;
    out_before = 0;
    out_pause = 0;
    out_beats = 0;
    last_out = 0;
    dropped = 0;
    changed = 0;
  end

  always @(posedge clock) begin
    if (!reset && out_valid && out_ready) begin
      $fwrite(out_file, "%u", out_data);
      out_beats <= out_beats + 1;
      last_out <= cycle;
    end
    if (sink_stall != 0) begin
      if (out_pause != 0) out_pause <= out_pause - 1;
      else if ({16'd0, random[31:16]} < sink_stall) out_pause <= {16'd0, random[15:0]} % longest;
      // a sink may wait for valid before it is ready; this one does for some of the beats
      if (out_valid && out_ready) out_shy <= random[0];
      out_ready <= out_pause == 0 && {16'd0, random[31:16]} >= sink_stall &&
                   (!out_shy || (out_valid && !out_ready));
      out_held <= !reset && out_valid && !out_ready;
      out_before <= out_data;
      if (!reset && out_held) begin
        if (!out_valid) dropped <= 1;
        else if (out_data != out_before) changed <= 1;
      end
    end
  end

  // --- register master ----------------------------------------------------------------

  localparam [2:0] WAIT = 0, WRITE = 1, RESPONSE = 2, POLL = 3, READ = 4, LINGER = 5, END = 6;

  reg [2:0] state;
  reg [31:0] pause;
  reg [7:0] index;
  reg awvalid, wvalid, arvalid, address_taken, bad_response, gave_up;
  reg [7:0] araddr;
  wire awready, wready, bvalid, arready, rvalid;
  wire [1:0] bresp, rresp;
  wire [31:0] rdata;
  reg [31:0] registers[0:31];
  integer n;

  initial begin
    state = WAIT;
    pause = 0;
    index = 0;
    awvalid = 0;
    wvalid = 0;
    arvalid = 0;
    araddr = 0;
    address_taken = 0;
    bad_response = 0;
    gave_up = 0;
  end

  function automatic [7:0] address(input [7:0] which);
    case (which)
      0: address = CTRL;
      1: address = STATUS;
      2: address = LATENCY;
      3: address = CHECKSUM;
      4: address = ID;
      default: address = COUNTER + ((which - 8'd5) << 2);
    endcase
  endfunction

  always @(posedge clock) begin
    if (awvalid && awready) awvalid <= 0;
    if (wvalid && wready) wvalid <= 0;
    if (arvalid && arready) arvalid <= 0;
    if (bvalid && bresp != 0) bad_response <= 1;
    if (rvalid && rresp != 0) bad_response <= 1;
    if (pause != 0) pause <= pause - 1;
    case (state)
      WAIT:
      if (!reset) begin
        awvalid <= 1;
        wvalid <= 1;
        state <= WRITE;
      end
      WRITE: if (!(awvalid && !awready) && !(wvalid && !wready)) state <= RESPONSE;
      RESPONSE: if (bvalid) state <= POLL;
      POLL:
      if (!address_taken && pause == 0) begin
        arvalid <= 1;
        araddr <= STATUS;
        address_taken <= 1;
      end else if (rvalid) begin
        address_taken <= 0;
        pause <= POLL_CYCLES;
        if (rdata[0] || rdata[2] || cycle > timeout) begin
          gave_up <= !rdata[0] && !rdata[2];
          state <= READ;
        end
      end
      READ:
      if (!address_taken) begin
        arvalid <= 1;
        araddr <= address(index);
        address_taken <= 1;
      end else if (rvalid) begin
        address_taken <= 0;
        registers[index[4:0]] <= rdata;
        index <= index + 1;
        if (index == 4 + COUNTERS) begin
          pause <= LINGER_CYCLES;
          state <= LINGER;
        end
      end
      LINGER: if (pause == 0) state <= END;
      default: ;
    endcase
    if ((state == END || cycle > deadline) && !done) begin
      $fwrite(report_file, "finished %0d\n", state == END);
      $fwrite(report_file, "timed_out %0d\n", gave_up || state != END);
      $fwrite(report_file, "cycles %0d\n", cycle);
      $fwrite(report_file, "in_beats %0d\n", in_beats);
      $fwrite(report_file, "in_left %0d\n", in_valid || in_beat != 0 || !in_end);
      $fwrite(report_file, "out_beats %0d\n", out_beats);
      $fwrite(report_file, "observed_latency %0d\n", last_out - first_in + 1);
      $fwrite(report_file, "dropped %0d\n", dropped);
      $fwrite(report_file, "changed %0d\n", changed);
      $fwrite(report_file, "bad_response %0d\n", bad_response);
      for (n = 0; n < index; n = n + 1)
        $fwrite(report_file, "register_%0d %0d\n", address(n[7:0]), registers[n]);
      $fclose(report_file);
      $fclose(out_file);
      done <= 1;
    end
  end

  // --- device under test --------------------------------------------------------------

  `DCP_TOP dut (
      .clock(clock),
      .reset(reset),
      .s_axil_awvalid(awvalid),
      .s_axil_awready(awready),
      .s_axil_awaddr(CTRL),
      .s_axil_wvalid(wvalid),
      .s_axil_wready(wready),
      .s_axil_wdata(32'd1),
      .s_axil_wstrb(4'hf),
      .s_axil_bvalid(bvalid),
      .s_axil_bready(1'b1),
      .s_axil_bresp(bresp),
      .s_axil_arvalid(arvalid),
      .s_axil_arready(arready),
      .s_axil_araddr(araddr),
      .s_axil_rvalid(rvalid),
      .s_axil_rready(1'b1),
      .s_axil_rdata(rdata),
      .s_axil_rresp(rresp),
      .s_axis_tvalid(in_valid),
      .s_axis_tready(in_ready),
      .s_axis_tdata(in_data),
      .m_axis_tvalid(out_valid),
      .m_axis_tready(out_ready),
`ifdef DCP_TLAST
      .m_axis_tlast(),
`endif
      .m_axis_tdata(out_data)
  );
endmodule
