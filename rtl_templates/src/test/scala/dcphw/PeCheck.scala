package dcphw

import chisel3._
import chisel3.simulator.PeekPokeAPI._

import scala.util.Random

/** What a PE gets in one cycle. */
case class PeInputs(
    enable: Boolean,
    input: Int,
    weight: Int,
    shift: Boolean,
    swap: Boolean,
    valid: Boolean,
    clear: Boolean,
    capture: Boolean,
    drainIn: BigInt
)

/** The registers of a PE, `None` until something known was stored. */
case class PeState(
    shadow: Option[BigInt] = None, // of the held operand: next in the chain
    held: Option[BigInt] = None,
    product: Option[BigInt] = None,
    sum: Option[BigInt] = None,
    drain: Option[BigInt] = None
) {

  /** The state after a clock edge with these inputs. */
  def next(kind: PeKind, in: PeInputs): PeState = {
    def signed(value: BigInt, bits: Int) = {
      val low = value.mod(BigInt(1) << bits)
      if (low.testBit(bits - 1)) low - (BigInt(1) << bits) else low
    }
    def operand(arriving: Int, isHeld: Boolean) =
      (if (isHeld) held else Some(BigInt(arriving))).map(signed(_, kind.dataBits))
    val arriving = BigInt(if (kind.holdsInput) in.input else in.weight)
    val a = operand(in.input, kind.holdsInput)
    val b = operand(in.weight, kind.holdsWeight)
    val before = if (in.clear) Some(BigInt(0)) else sum
    PeState(
      shadow = if (in.shift) Some(arriving) else shadow,
      held = if (in.swap) shadow else held,
      product = if (in.enable) a.flatMap(x => b.map(x * _)) else Some(0),
      sum = if (in.valid) before.flatMap(x => product.map(y => signed(x + y, kind.accBits))) else sum,
      drain = if (in.capture) sum else Some(in.drainIn)
    )
  }
}

/** Random stimuli for PEs, compared with their registers after every cycle. */
object PeCheck {
  private val plain = PeKind(false, false, false, 8, 32)
  val kinds = Seq(
    plain,
    plain.copy(holdsInput = true),
    plain.copy(holdsWeight = true),
    plain.copy(accumulates = true),
    PeKind(false, false, false, 4, 16),
    PeKind(false, true, false, 5, 16),
    PeKind(false, false, true, 4, 10) // sums wrap
  )

  /** Number of values compared for each kind. */
  def apply(ports: Seq[PeIo], cycles: Int, random: Random)(tick: => Unit): Seq[Int] = {
    def byte() = if (random.nextInt(4) == 0) Seq(0, 127, 128, 255)(random.nextInt(4)) else random.nextInt(256)
    def inputs(kind: PeKind) = PeInputs(
      enable = random.nextInt(4) > 0,
      input = byte(),
      weight = byte(),
      shift = random.nextBoolean(),
      swap = random.nextInt(3) == 0,
      valid = random.nextInt(4) > 0,
      clear = random.nextInt(16) == 0,
      capture = random.nextInt(3) == 0,
      drainIn = BigInt(kind.accBits, random) - (BigInt(1) << (kind.accBits - 1))
    )
    val start = kinds.map(_ => (PeState(), 0))
    val end = (0 until cycles).foldLeft(start) { (before, _) =>
      val stimuli = kinds.map(inputs)
      for ((port, in) <- ports.zip(stimuli)) drive(port, in)
      tick
      for (((state, compared), n) <- before.zipWithIndex) yield {
        val after = state.next(kinds(n), stimuli(n))
        (after, compared + compare(ports(n), after))
      }
    }
    end.map { case (_, compared) => compared }
  }

  private def drive(port: PeIo, in: PeInputs): Unit = {
    port.enable.poke(in.enable)
    port.input.poke(in.input)
    port.weight.poke(in.weight)
    port.shift.foreach(_.poke(in.shift))
    port.swap.foreach(_.poke(in.swap))
    port.valid.foreach(_.poke(in.valid))
    port.clear.foreach(_.poke(in.clear))
    port.capture.foreach(_.poke(in.capture))
    port.drainIn.foreach(_.poke(in.drainIn))
  }

  /** Number of known values; fails where the PE shows another one. */
  private def compare(port: PeIo, state: PeState): Int = {
    val values = Seq(
      (port.product.map(_.peekValue().asBigInt), state.product, "product"),
      (port.drainOut.map(_.peekValue().asBigInt), state.drain, "drainOut"),
      (port.chain.map(_.peekValue().asBigInt), state.shadow, "chain")
    )
    val known = for ((Some(got), Some(expected), name) <- values) yield (got, expected, name)
    for ((got, expected, name) <- known) require(got == expected, s"$name is $got, expected $expected")
    known.size
  }
}
