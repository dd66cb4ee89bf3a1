package dcphw

import chisel3._
import chisel3.util._

/** Sizes shared by all designs (docs/hardware.md, sections 1 and 5). */
object Words {
  val bytes = 16
  val bits = 128
  val loops = 6
  val addressBits = 16
  val coordinateBits = 10
  val baseBits = 14
  val digits = 4
  val digitBits = 8
  val limitBits = 9
}

object Opcode {
  val config = 1
  val lanes = 2
  val load = 3
  val exec = 4
  val store = 5
  val end = 15
}

/** How an operand's banks take words. */
class LoadShape extends Bundle {
  val strideA = UInt(Words.addressBits.W)
  val strideB = UInt(Words.addressBits.W)
  val strideC = UInt(Words.addressBits.W)
  val extentA = UInt(Words.coordinateBits.W)
  val extentB = UInt(Words.coordinateBits.W)
  val extentC = UInt(Words.coordinateBits.W)
  val byteMode = Bool()
}

object LoadShape {
  def apply(word: UInt): LoadShape = {
    val s = Wire(new LoadShape)
    s.strideA := word(15, 0)
    s.strideB := word(31, 16)
    s.strideC := word(47, 32)
    s.extentA := word(57, 48)
    s.extentB := word(67, 58)
    s.extentC := word(77, 68)
    s.byteMode := word(78)
    s
  }
}

/** Layer-wide settings of the sequencer. */
class NestConfig extends Bundle {
  val inputStride = Vec(Words.loops, UInt(Words.addressBits.W))
  val weightStride = Vec(Words.loops, UInt(Words.addressBits.W))
  val outputStride = Vec(Words.loops, UInt(Words.addressBits.W))
  val inputFillStride = UInt(Words.addressBits.W)
  val weightFillStride = UInt(Words.addressBits.W)
  val drainStride = UInt(Words.addressBits.W)
  val runDepth = UInt(3.W)
  val reductions = UInt(Words.loops.W)
  val sweepDepth = UInt(3.W)
  val sweepMin = UInt(16.W)
}

/** What a bank or a PE knows of its place: lower bounds of its box, byte select, digits. */
class LaneSide extends Bundle {
  val a = UInt(Words.coordinateBits.W)
  val b = UInt(Words.coordinateBits.W)
  val c = UInt(Words.coordinateBits.W)
  val base = UInt(Words.baseBits.W)
  val select = UInt(4.W)

  def +(that: LaneSide): LaneSide = {
    val sum = Wire(new LaneSide)
    sum.a := a + that.a
    sum.b := b + that.b
    sum.c := c + that.c
    sum.base := base + that.base
    sum.select := select + that.select
    sum
  }
}

/** One entry of a lane table. */
class Lane extends Bundle {
  val input = new LaneSide
  val weight = new LaneSide
  val digits = Vec(Words.digits, UInt(Words.digitBits.W))
}

object Lane {
  def apply(word: UInt): Lane = {
    val lane = Wire(new Lane)
    for ((side, low, select) <- Seq((lane.input, 0, 88), (lane.weight, 44, 92))) {
      side.a := word(low + 9, low)
      side.b := word(low + 19, low + 10)
      side.c := word(low + 29, low + 20)
      side.base := word(low + 43, low + 30)
      side.select := word(select + 3, select)
    }
    for (n <- 0 until Words.digits) lane.digits(n) := word(103 + 8 * n, 96 + 8 * n)
    lane
  }
}

/** One loop nest on the array. */
class ExecCommand extends Bundle {
  val inputBuffer = UInt(1.W)
  val weightBuffer = UInt(1.W)
  val outputBuffer = UInt(1.W)
  val releaseInput = Bool()
  val releaseWeight = Bool()
  val outputComplete = Bool()
  val accumulate = Bool()
  val bounds = Vec(Words.loops, UInt(16.W))
  val inputBase = UInt(Words.addressBits.W)
  val weightBase = UInt(Words.addressBits.W)
  val outputBase = UInt(Words.addressBits.W)
  val limits = Vec(Words.digits, UInt(Words.limitBits.W))
}

object ExecCommand {
  def apply(first: UInt, second: UInt): ExecCommand = {
    val e = Wire(new ExecCommand)
    e.inputBuffer := first(4)
    e.weightBuffer := first(5)
    e.outputBuffer := first(6)
    e.releaseInput := first(7)
    e.releaseWeight := first(8)
    e.outputComplete := first(9)
    e.accumulate := first(10)
    for (l <- 0 until Words.loops) e.bounds(l) := first(16 * l + 31, 16 * l + 16)
    e.inputBase := second(15, 0)
    e.weightBase := second(31, 16)
    e.outputBase := second(47, 32)
    for (n <- 0 until Words.digits) e.limits(n) := second(56 + 9 * n, 48 + 9 * n)
    e
  }
}

/** Sends outputs. */
class StoreCommand extends Bundle {
  val outputBuffer = UInt(1.W)
  val int32 = Bool()
  val releaseOutput = Bool()
  val paramBuffer = UInt(1.W)
  val releaseParams = Bool()
  val log2Group = UInt(3.W)
  val bounds = Vec(4, UInt(12.W))
  val laneStrides = Vec(4, UInt(8.W))
  val paramRow = UInt(8.W)
  val paramStrides = Vec(4, UInt(4.W))
  val addressStrides = Vec(4, UInt(Words.addressBits.W))
  val addressBase = UInt(Words.addressBits.W)
  val laneBase = UInt(8.W)
  val pixelMask = UInt(16.W)
  val channels = UInt(12.W)
}

object StoreCommand {
  def apply(first: UInt, second: UInt): StoreCommand = {
    val s = Wire(new StoreCommand)
    s.outputBuffer := first(4)
    s.int32 := first(5)
    s.releaseOutput := first(6)
    s.paramBuffer := first(7)
    s.releaseParams := first(8)
    s.log2Group := first(11, 9)
    for (n <- 0 until 4) {
      s.bounds(n) := first(23 + 12 * n, 12 + 12 * n)
      s.laneStrides(n) := first(67 + 8 * n, 60 + 8 * n)
      s.paramStrides(n) := first(103 + 4 * n, 100 + 4 * n)
      s.addressStrides(n) := second(15 + 16 * n, 16 * n)
    }
    s.paramRow := first(99, 92)
    s.addressBase := second(79, 64)
    s.laneBase := second(87, 80)
    s.pixelMask := second(103, 88)
    s.channels := second(115, 104)
    s
  }
}

/** One loader step: a word (or zeros) with its place in the tile. */
class LoadStep extends Bundle {
  val a = UInt(Words.coordinateBits.W)
  val b = UInt(Words.coordinateBits.W)
  val c = UInt(Words.coordinateBits.W)
  val address = UInt(Words.addressBits.W)
  val buffer = UInt(1.W)
  val word = UInt(Words.bits.W)
  val clear = Bool() // a bank's first byte of a row also clears the row
  val first = Bool() // first step of a row
}

/** A read of all banks of an operand: byte address, and whether the row differs from the one held. */
class OperandRead extends Bundle {
  val valid = Bool()
  val newRow = Bool()
  val address = UInt(Words.addressBits.W)
}

/** What happens to the output of a step. */
class OutputStep extends Bundle {
  val valid = Bool()
  val first = Bool()
  val last = Bool()
  val partial = Bool()
  val address = UInt(Words.addressBits.W)
}

/** One step of the sequencer. */
class Step extends Bundle {
  val input = new OperandRead
  val weight = new OperandRead
  val output = new OutputStep
  val sweepFirst = Bool()
  val sweepLast = Bool()
}
