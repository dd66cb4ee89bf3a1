package dcphw

import chisel3._
import chisel3.util._

/** AXI4-Lite slave port, 8-bit byte addresses, 32-bit data. */
class AxiLitePort extends Bundle {
  val awvalid = Input(Bool())
  val awready = Output(Bool())
  val awaddr = Input(UInt(8.W))
  val wvalid = Input(Bool())
  val wready = Output(Bool())
  val wdata = Input(UInt(32.W))
  val wstrb = Input(UInt(4.W))
  val bvalid = Output(Bool())
  val bready = Input(Bool())
  val bresp = Output(UInt(2.W))
  val arvalid = Input(Bool())
  val arready = Output(Bool())
  val araddr = Input(UInt(8.W))
  val rvalid = Output(Bool())
  val rready = Input(Bool())
  val rdata = Output(UInt(32.W))
  val rresp = Output(UInt(2.W))
}

/** Register file: reads of `values` (by word address), starts, and command words that are written piece by piece. */
class AxiLite(count: Int) extends Module {
  val axi = IO(new AxiLitePort)
  val io = IO(new Bundle {
    val values = Input(Vec(count, UInt(32.W)))
    val start = Output(Bool()) // a write of CTRL bit 0
    val startsInBand = Output(Bool()) // with `start`: commands come with the data, not over this port
    val takesProgram = Input(Bool()) // otherwise command words are dropped
    val program = Decoupled(UInt(Words.bits.W))
  })
  private val written = RegInit(false.B)
  private val isProgram = axi.awaddr(7, 4) === (AxiLite.program >> 4).U
  private val isLast = isProgram && axi.awaddr(3, 2).andR // completes a word
  private val blocked = isLast && io.takesProgram && !io.program.ready
  private val accept = axi.awvalid && axi.wvalid && !written && !blocked
  axi.awready := accept
  axi.wready := accept
  when(accept) { written := true.B }.elsewhen(axi.bready) { written := false.B }
  axi.bvalid := written
  axi.bresp := 0.U
  private val isStart = accept && axi.awaddr(7, 2) === 0.U && axi.wstrb(0)
  io.start := isStart && axi.wdata(0)
  io.startsInBand := !axi.wdata(1)

  private val pieces = Reg(Vec(Words.bits / 32 - 1, UInt(32.W))) // of a word, all but the last
  for ((held, n) <- pieces.zipWithIndex)
    when(accept && isProgram && axi.awaddr(3, 2) === n.U) { held := axi.wdata }
  io.program.valid := accept && isLast && io.takesProgram
  io.program.bits := axi.wdata ## pieces.asUInt

  private val answered = RegInit(false.B)
  private val data = Reg(UInt(32.W))
  axi.arready := !answered
  when(axi.arvalid && !answered) {
    answered := true.B
    data := MuxLookup(axi.araddr(7, 2), 0.U)((0 until count).map(n => n.U -> io.values(n)))
  }.elsewhen(axi.rready) { answered := false.B }
  axi.rvalid := answered
  axi.rdata := data
  axi.rresp := 0.U
}

object AxiLite {

  /** Address of the first byte of a command word. */
  val program: Int = 0x80
}
