package dcphw

import chisel3._
import chisel3.util._

/** Bank of 16-byte rows: one read, one write port; a write takes a word or one byte of it. */
class OperandRam(rows: Int)
    extends BlackBox(Map("ROWS" -> rows, "ADDR" -> Memories.addressBits(rows)))
    with HasBlackBoxInline {
  override def desiredName: String = "OperandRam"
  val io = IO(new Bundle {
    val clock = Input(Clock())
    val ren = Input(Bool())
    val rrow = Input(UInt(Memories.addressBits(rows).W))
    val rdata = Output(UInt(Words.bits.W))
    val wen = Input(Bool())
    val wrow = Input(UInt(Memories.addressBits(rows).W))
    val wbyte = Input(UInt(4.W))
    val wselect = Input(UInt(4.W))
    val bytemode = Input(Bool())
    val wclear = Input(Bool())
    val wdata = Input(UInt(Words.bits.W))
  })
  setInline(
    "OperandRam.v",
    """// A bank of 16-byte rows. Macro with registered read; a write stores the whole word, or (bytemode)
      |// byte `wselect` of the word at byte `wbyte` of the row, with `wclear` all other bytes 0.
      |// Reads see the row before a write of the same cycle.
      |module OperandRam #(parameter ROWS = 64, parameter ADDR = 6) (
      |  input              clock,
      |  input              ren,
      |  input  [ADDR-1:0]  rrow,
      |  output reg [127:0] rdata,
      |  input              wen,
      |  input  [ADDR-1:0]  wrow,
      |  input  [3:0]       wbyte,
      |  input  [3:0]       wselect,
      |  input              bytemode,
      |  input              wclear,
      |  input  [127:0]     wdata
      |);
      |  reg [127:0] mem [0:ROWS-1];
      |  always @(posedge clock) begin
      |    if (ren) rdata <= mem[rrow];
      |    if (wen) begin
      |      if (bytemode && wclear) mem[wrow] = {120'b0, wdata[{wselect, 3'b000} +: 8]} << {wbyte, 3'b000};
      |      else if (bytemode) mem[wrow][{wbyte, 3'b000} +: 8] = wdata[{wselect, 3'b000} +: 8];
      |      else mem[wrow] = wdata;
      |    end
      |  end
      |endmodule
      |""".stripMargin
  )
}

/** Plain memory with registered read. */
class WordRam(words: Int, width: Int)
    extends BlackBox(Map("WORDS" -> words, "WIDTH" -> width, "ADDR" -> Memories.addressBits(words)))
    with HasBlackBoxInline {
  override def desiredName: String = "WordRam"
  val io = IO(new Bundle {
    val clock = Input(Clock())
    val ren = Input(Bool())
    val raddr = Input(UInt(Memories.addressBits(words).W))
    val rdata = Output(UInt(width.W))
    val wen = Input(Bool())
    val waddr = Input(UInt(Memories.addressBits(words).W))
    val wdata = Input(UInt(width.W))
  })
  setInline(
    "WordRam.v",
    """// One read, one write port; registered read, which sees the word before a write of the same cycle.
      |module WordRam #(parameter WORDS = 64, parameter WIDTH = 32, parameter ADDR = 6) (
      |  input                  clock,
      |  input                  ren,
      |  input  [ADDR-1:0]      raddr,
      |  output reg [WIDTH-1:0] rdata,
      |  input                  wen,
      |  input  [ADDR-1:0]      waddr,
      |  input  [WIDTH-1:0]     wdata
      |);
      |  reg [WIDTH-1:0] mem [0:WORDS-1];
      |  always @(posedge clock) begin
      |    if (ren) rdata <= mem[raddr];
      |    if (wen) mem[waddr] = wdata;
      |  end
      |endmodule
      |""".stripMargin
  )
}

/** Output FIFO that turns corners: lanes come in steps, words leave with 16 consecutive channels. */
class CornerFifo extends BlackBox with HasBlackBoxInline {
  val io = IO(new Bundle {
    val clock = Input(Clock())
    val wen = Input(Bool())
    val base = Input(UInt(6.W))
    val step = Input(UInt(4.W))
    val log2group = Input(UInt(3.W))
    val mask = Input(UInt(16.W))
    val bytes = Input(UInt(128.W))
    val wide = Input(Bool())
    val words = Input(UInt(512.W))
    val raddr = Input(UInt(6.W))
    val rdata = Output(UInt(128.W))
  })
  setInline(
    "CornerFifo.v",
    """// 64 words of 16 bytes. A narrow write puts the byte of lane s into byte (step*G + s mod G) of the word of
      |// pixel s / G (G = 2^log2group; pixels outside the mask take no word); a wide write puts four words.
      |module CornerFifo (
      |  input          clock,
      |  input          wen,
      |  input  [5:0]   base,
      |  input  [3:0]   step,
      |  input  [2:0]   log2group,
      |  input  [15:0]  mask,
      |  input  [127:0] bytes,
      |  input          wide,
      |  input  [511:0] words,
      |  input  [5:0]   raddr,
      |  output [127:0] rdata
      |);
      |  reg [127:0] mem [0:63];
      |  integer s;
      |  reg [5:0] row;
      |  reg [3:0] pixel;
      |  reg [3:0] place;
      |  always @(posedge clock) begin
      |    if (wen) begin
      |      if (wide) begin
      |        mem[base] = words[127:0];
      |        mem[base + 6'd1] = words[255:128];
      |        mem[base + 6'd2] = words[383:256];
      |        mem[base + 6'd3] = words[511:384];
      |      end else begin
      |        row = base;
      |        for (s = 0; s < 16; s = s + 1) begin
      |          pixel = s[3:0] >> log2group;
      |          place = (step << log2group) + (s[3:0] & ~(4'hf << log2group));
      |          if (mask[pixel]) begin
      |            mem[row][{place, 3'b000} +: 8] = bytes[8*s +: 8];
      |            if ((s[3:0] | (4'hf << log2group)) == 4'hf) row = row + 6'd1;
      |          end
      |        end
      |      end
      |    end
      |  end
      |  assign rdata = mem[raddr];
      |endmodule
      |""".stripMargin
  )
}

object Memories {

  /** Bits of an address of `words` words, at least one. */
  def addressBits(words: Int): Int = log2Ceil(words).max(1)
}
