package dcphw

import chisel3._
import chisel3.simulator.PeekPokeAPI._
import chisel3.util.MixedVec

import scala.util.Random

/** Ports of a `LoopNest`. */
class NestPort(val loops: Int, val boundBits: Int, val widths: Seq[Int]) extends Bundle {
  val start = Input(Bool())
  val bounds = Input(Vec(loops, UInt(boundBits.W)))
  val bases = Input(MixedVec(widths.map(w => UInt(w.W))))
  val strides = Input(MixedVec(widths.map(w => Vec(loops, UInt(w.W)))))
  val skip = Input(UInt(3.W))
  val advance = Input(Bool())
  val addresses = Output(MixedVec(widths.map(w => UInt(w.W))))
  val atFirst = Output(Vec(loops, Bool()))
  val atLast = Output(Vec(loops, Bool()))
  val counts = Output(Vec(loops, UInt(boundBits.W)))
  val done = Output(Bool())
}

/** A loop nest to run: loop 0 innermost; `strides(t)(l)` belongs to address t and loop l. */
case class Nest(bounds: Seq[Int], bases: Seq[BigInt], strides: Seq[Seq[BigInt]], skip: Int) {
  private val counted = bounds.zipWithIndex.map { case (bound, l) => if (l < skip) 1 else bound }
  val steps: BigInt = counted.map(BigInt(_)).product

  /** Index of each loop in step `n`: the digits of n, least significant first. */
  def indices(n: BigInt): Seq[BigInt] =
    counted.zip(counted.scanLeft(BigInt(1))(_ * _)).map { case (bound, inner) => n / inner % bound }

  /** Address t in step `n`, before it is cut to its width. */
  def address(t: Int, n: BigInt): BigInt =
    bases(t) + indices(n).zip(strides(t)).map { case (index, stride) => index * stride }.sum
}

object Nest {

  /** A nest for `port` with bounds up to `most` and any strides. */
  def random(random: Random, port: NestPort, most: Int, skip: Int = 0): Nest = Nest(
    Seq.fill(port.loops)(1 + random.nextInt(most)),
    port.widths.map(BigInt(_, random)),
    port.widths.map(w => Seq.fill(port.loops)(BigInt(w, random))),
    skip
  )
}

/** Runs a nest, with pauses and on after its end, and compares every step. */
object LoopNestCheck {
  def apply(port: NestPort, nest: Nest, random: Random)(tick: => Unit): Unit = {
    port.skip.poke(nest.skip)
    for ((pin, bound) <- port.bounds.zip(nest.bounds)) pin.poke(bound)
    for ((pin, base) <- port.bases.zip(nest.bases)) pin.poke(base)
    for ((pins, strides) <- port.strides.zip(nest.strides); (pin, stride) <- pins.zip(strides)) pin.poke(stride)
    port.advance.poke(false)
    port.start.poke(true)
    tick
    port.start.poke(false)
    val cycles = nest.steps.min(60).toInt + 5
    (0 until cycles).foldLeft(BigInt(0)) { (n, _) =>
      compare(port, nest, n)
      val goesOn = random.nextInt(4) > 0
      port.advance.poke(goesOn)
      tick
      if (goesOn) (n + 1).min(nest.steps - 1) else n
    }
  }

  private def compare(port: NestPort, nest: Nest, n: BigInt): Unit = {
    def same[T](what: String, got: T, expected: T): Unit =
      require(got == expected, s"$what is $got, expected $expected, in step $n of $nest")
    def isSet(pin: Bool) = pin.peekBoolean()
    def value(pin: UInt) = pin.peekValue().asBigInt
    same("done", isSet(port.done), n == nest.steps - 1)
    for (((pin, bits), t) <- port.addresses.zip(port.widths).zipWithIndex)
      same(s"address $t", value(pin), nest.address(t, n).mod(BigInt(1) << bits))
    for ((index, l) <- nest.indices(n).zipWithIndex) {
      same(s"count $l", value(port.counts(l)), index)
      same(s"atFirst $l", isSet(port.atFirst(l)), index == 0)
      same(s"atLast $l", isSet(port.atLast(l)), index == nest.bounds(l) - 1)
    }
  }
}
