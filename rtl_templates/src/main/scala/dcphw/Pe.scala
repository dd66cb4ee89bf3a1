package dcphw

import chisel3._
import chisel3.util._

/** What a PE is made of: which operand it holds, whether it accumulates. */
case class PeKind(holdsInput: Boolean, holdsWeight: Boolean, accumulates: Boolean, dataBits: Int, accBits: Int) {
  val holds: Boolean = holdsInput || holdsWeight

  /** Module name: `Pe` with what it adds to a multiplier. */
  val name: String =
    "Pe" + (if (holdsInput) "HoldInput" else "") + (if (holdsWeight) "HoldWeight" else "") +
      (if (accumulates) "Accumulate" else "")
}

/** Ports of a PE. */
class PeIo(kind: PeKind) extends Bundle {
  val enable = Input(Bool())
  val input = Input(UInt(8.W)) // of a held operand: from the chain
  val weight = Input(UInt(8.W))
  val product = if (kind.accumulates) None else Some(Output(SInt((2 * kind.dataBits).W)))
  val shift = if (kind.holds) Some(Input(Bool())) else None
  val swap = if (kind.holds) Some(Input(Bool())) else None
  val chain = if (kind.holds) Some(Output(UInt(8.W))) else None
  val valid = if (kind.accumulates) Some(Input(Bool())) else None
  val clear = if (kind.accumulates) Some(Input(Bool())) else None
  val capture = if (kind.accumulates) Some(Input(Bool())) else None
  val drainIn = if (kind.accumulates) Some(Input(SInt(kind.accBits.W))) else None
  val drainOut = if (kind.accumulates) Some(Output(SInt(kind.accBits.W))) else None
}

/** One processing element: a multiplier whose product is 0 unless the PE is enabled. */
class Pe(kind: PeKind) extends Module {
  override def desiredName: String = kind.name
  val io = IO(new PeIo(kind))

  /** The operand used now: as it comes, or the register that a sweep holds. */
  private def operand(arriving: UInt, isHeld: Boolean): SInt = {
    val now =
      if (!isHeld) arriving
      else {
        val shadow = RegEnable(arriving, io.shift.get)
        io.chain.get := shadow
        RegEnable(shadow, io.swap.get)
      }
    now(kind.dataBits - 1, 0).asSInt
  }
  private val a = operand(io.input, kind.holdsInput)
  private val b = operand(io.weight, kind.holdsWeight)
  private val product = RegNext(Mux(io.enable, a * b, 0.S((2 * kind.dataBits).W)))
  io.product.foreach(_ := product)

  if (kind.accumulates) {
    val sum = Reg(SInt(kind.accBits.W))
    when(io.valid.get) { sum := Mux(io.clear.get, 0.S, sum) + product }
    val shadow = RegNext(Mux(io.capture.get, sum, io.drainIn.get))
    io.drainOut.get := shadow
  }
}
