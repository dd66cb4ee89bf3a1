package dcphw

import chisel3._
import chisel3.util._

/** Lane tables of both axes; gives each bank its place and each PE its enable: for a whole EXEC, or step by step. */
class LaneTable(design: Design) extends Module {
  private val entries = design.rows + design.cols
  val io = IO(new Bundle {
    val word = Flipped(Valid(UInt(Words.bits.W)))
    val done = Input(Bool())
    val input = Output(Vec(design.input.banks, new LaneSide))
    val weight = Output(Vec(design.weight.banks, new LaneSide))
    val start = Input(Bool())
    val limits = Input(Vec(Words.digits, UInt(Words.limitBits.W)))
    val step =
      design.window.map(_ => Input(Vec(design.skewMax + 1, UInt(16.W)))) // loop 0, k cycles after the sequencer
    val enable = Output(Vec(design.rows * design.cols, Bool()))
  })
  private val table = Reg(Vec(entries, UInt(Words.bits.W)))
  when(io.word.valid) {
    for (n <- 0 until entries) table(n) := (if (n + 1 < entries) table(n + 1) else io.word.bits)
  }
  private val commit = RegNext(io.done, false.B)
  private def axis1(i: Int) = Lane(table(i))
  private def axis2(j: Int) = Lane(table(design.rows + j))

  for ((banks, operand, side) <- Seq[(Vec[LaneSide], Operand, Lane => LaneSide)](
      (io.input, design.input, _.input),
      (io.weight, design.weight, _.weight)
    ))
    for ((bank, place) <- banks.zip(operand.lanes)) {
      val held = Reg(new LaneSide)
      when(commit) { held := side(axis1(place.row)) + side(axis2(place.col)) }
      bank := held
    }

  /** With windows: what each digit has moved by, in the step that PEs of a skew are at. */
  private val moved = (for {
    steps <- design.window.toSeq
    skew <- design.positions.map(design.skewOf).distinct
    n <- steps.indices if steps(n) != 0
  } yield (skew, n) -> LaneTable.times(io.step.get(skew).zext, steps(n)).suggestName(s"moved_${skew}_$n")).toMap

  for ((enable, pe) <- io.enable.zip(design.positions)) {
    val held = RegInit(false.B)
    design.window match {
      case None =>
        when(io.start) {
          held := VecInit(Seq.tabulate(Words.digits) { n =>
            val digit = axis1(pe.row).digits(n) + axis2(pe.col).digits(n)
            !digit(Words.digitBits - 1) && digit < io.limits(n)
          }).asUInt.andR
        }
      case Some(_) =>
        held := VecInit(Seq.tabulate(Words.digits) { n =>
          val digit = axis1(pe.row).digits(n) + axis2(pe.col).digits(n)
          val first = RegEnable(digit, commit).suggestName(s"digit_${pe}_$n").asSInt
          val now = moved.get((design.skewOf(pe), n)).map(first +& _).getOrElse(first)
          now >= 0.S && now < io.limits(n).zext
        }).asUInt.andR
    }
    enable := held
  }
}

object LaneTable {

  /** `value` times a constant, by additions. */
  def times(value: SInt, factor: Int): SInt = {
    val shifted = (0 until 3).filter(bit => (factor.abs >> bit & 1) == 1).map(value << _)
    val product = shifted.reduce(_ +& _)
    if (factor < 0) 0.S -& product else product
  }
}
