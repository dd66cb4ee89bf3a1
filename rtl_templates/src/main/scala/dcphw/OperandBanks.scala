package dcphw

import chisel3._
import chisel3.util._

/** Banks of one operand: each keeps the words of its box and serves its ports. */
class OperandBanks(design: Design, operand: Operand) extends Module {
  override def desiredName: String = s"${operand.name.capitalize}Banks"
  private val taps = design.skewMax + 1
  val io = IO(new Bundle {
    val load = Flipped(Valid(new LoadStep))
    val shape = Input(new LoadShape)
    val place = Input(Vec(operand.banks, new LaneSide))
    val buffer = Input(UInt(1.W))
    val read = Input(Vec(taps, new OperandRead)) // tap k: the read k cycles after the sequencer
    val offset = Input(Vec(taps, UInt(4.W))) // tap k: byte in the row, of the read before
    val bytes = Output(Vec(operand.ports.size, UInt(8.W)))
    val writes = Output(UInt(log2Ceil(operand.banks + 1).W))
  })
  private val rowBits = Memories.addressBits(2 * operand.rows)

  // first stage: compare; second stage: write
  private val step = RegEnable(io.load.bits, io.load.valid)
  private val stepValid = RegNext(io.load.valid, false.B)
  private val word = RegEnable(step.word, stepValid)
  private val writeBuffer = RegEnable(step.buffer, stepValid)

  private def within(value: UInt, low: UInt, extent: UInt): Bool = (value - low) < extent

  /** Row of the memory that holds both buffers, one above the other. */
  private def row(address: UInt, buffer: UInt): UInt =
    (address(Words.addressBits - 1, 4) +& Mux(buffer === 1.U, operand.rows.U, 0.U))(rowBits - 1, 0)

  private val bank = Seq.tabulate(operand.banks) { n =>
    val ports = operand.ports.filter(_.bank == n)
    require(ports.nonEmpty, s"${operand.name}: bank $n has no port")
    val skews = ports.map(p => design.skewOf(p.pe)).distinct
    require(skews.size == 1, s"${operand.name}: the ports of bank $n have skews ${skews.mkString(", ")}")
    val place = io.place(n)
    val hit = within(step.a, place.a, io.shape.extentA) &&
      within(step.b, place.b, io.shape.extentB) &&
      within(step.c, place.c, io.shape.extentC)
    val write = RegNext(stepValid && hit, false.B)
    val address = Reg(UInt(Words.addressBits.W))
    val fresh = Reg(Bool())
    when(stepValid && hit) {
      address := step.address - place.base
      fresh := step.clear && (step.first || step.c === place.c)
    }

    val ram = Module(new OperandRam(2 * operand.rows)).suggestName(s"ram_$n")
    val read = io.read(skews.head)
    ram.io.clock := clock
    ram.io.ren := read.valid && read.newRow
    ram.io.rrow := row(read.address, io.buffer)
    ram.io.wen := write
    ram.io.wrow := row(address, writeBuffer)
    ram.io.wbyte := address(3, 0)
    ram.io.wselect := place.select
    ram.io.bytemode := io.shape.byteMode
    ram.io.wclear := fresh
    ram.io.wdata := word

    val window = OperandBanks.window(ram.io.rdata, io.offset(skews.head), operand.slots)
    for ((port, k) <- operand.ports.zipWithIndex if port.bank == n) io.bytes(k) := window(port.slot)
    write
  }
  private val anyStep = RegNext(stepValid, false.B)
  io.writes := Mux(anyStep, PopCount(bank), 0.U)
}

object OperandBanks {

  /** `slots` consecutive bytes of a row from byte `offset` on (a program never runs over the row's end). */
  def window(row: UInt, offset: UInt, slots: Int): Seq[UInt] = {
    val words = Seq.tabulate(4)(n => row(32 * n + 31, 32 * n)) :+ 0.U(32.W)
    if (slots == 1) {
      val word = MuxLookup(offset(3, 2), words(3))((0 until 3).map(n => n.U -> words(n)))
      Seq((word >> (offset(1, 0) ## 0.U(3.W)))(7, 0))
    } else if (slots <= 4) {
      val pair = MuxLookup(offset(3, 2), words(4) ## words(3))((0 until 3).map(n => n.U -> (words(n + 1) ## words(n))))
      val shifted = (pair >> (offset(1, 0) ## 0.U(3.W)))(31, 0)
      Seq.tabulate(slots)(n => shifted(8 * n + 7, 8 * n))
    } else {
      val shifted = row >> (offset ## 0.U(3.W))
      Seq.tabulate(slots)(n => shifted(8 * n + 7, 8 * n))
    }
  }
}
