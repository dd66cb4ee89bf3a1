package dcphw

import chisel3._
import chisel3.util._

/** Counters of a loop nest with run-time bounds and one address per stride set; loop 0 fastest. */
class LoopNest(loops: Int, boundBits: Int, strideBits: Seq[Int]) extends Module {
  val io = IO(new Bundle {
    val start = Input(Bool())
    val bounds = Input(Vec(loops, UInt(boundBits.W)))
    val bases = Input(MixedVec(strideBits.map(w => UInt(w.W))))
    val strides = Input(MixedVec(strideBits.map(w => Vec(loops, UInt(w.W)))))
    val skip = Input(UInt(3.W)) // this many inner loops stay at 0
    val advance = Input(Bool())
    val addresses = Output(MixedVec(strideBits.map(w => UInt(w.W))))
    val atFirst = Output(Vec(loops, Bool()))
    val atLast = Output(Vec(loops, Bool()))
    val counts = Output(Vec(loops, UInt(boundBits.W)))
    val done = Output(Bool()) // the current step is the last one
  })
  private val counts = Reg(Vec(loops, UInt(boundBits.W)))
  private val isLast = VecInit.tabulate(loops)(l => counts(l) === io.bounds(l) - 1.U)
  private val stops = VecInit.tabulate(loops)(l => !isLast(l) && l.U >= io.skip)
  private val turn = PriorityEncoder(stops) // innermost loop that goes on
  private val done = !stops.asUInt.orR

  for (((address, base), strides) <- io.addresses.zip(io.bases).zip(io.strides)) {
    val levels = Reg(Vec(loops, chiselTypeOf(base)))
    val next = levels(turn) + strides(turn)
    when(io.start) {
      levels.foreach(_ := base)
    }.elsewhen(io.advance && !done) {
      for (l <- 0 until loops) when(l.U <= turn) { levels(l) := next }
    }
    address := levels(0)
  }
  when(io.start) {
    counts.foreach(_ := 0.U)
  }.elsewhen(io.advance && !done) {
    for (l <- 0 until loops)
      when(l.U < turn) { counts(l) := 0.U }.elsewhen(l.U === turn) { counts(l) := counts(l) + 1.U }
  }
  io.atLast := isLast
  io.atFirst := VecInit(counts.map(_ === 0.U))
  io.counts := counts
  io.done := done
}
