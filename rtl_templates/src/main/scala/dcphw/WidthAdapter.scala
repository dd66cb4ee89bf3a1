package dcphw

import chisel3._
import chisel3.util._

/** Beats of the input bus to 16-byte words, lowest bytes first, with a two-word queue. */
class InputAdapter(busBits: Int) extends Module {
  private val beats = Words.bits / busBits
  val io = IO(new Bundle {
    val enable = Input(Bool())
    val beat = Flipped(Decoupled(UInt(busBits.W)))
    val word = Decoupled(UInt(Words.bits.W))
  })
  private val queue = Module(new Queue(UInt(Words.bits.W), 2))
  if (beats == 1) {
    queue.io.enq.valid := io.beat.valid && io.enable
    queue.io.enq.bits := io.beat.bits
    io.beat.ready := queue.io.enq.ready && io.enable
  } else {
    val held = Reg(Vec(beats - 1, UInt(busBits.W)))
    val count = RegInit(0.U(log2Ceil(beats).W))
    val isLast = count === (beats - 1).U
    queue.io.enq.valid := io.beat.valid && io.enable && isLast
    queue.io.enq.bits := Cat(io.beat.bits, held.asUInt)
    io.beat.ready := io.enable && (!isLast || queue.io.enq.ready)
    when(io.beat.fire) {
      count := Mux(isLast, 0.U, count + 1.U)
      for (n <- 0 until beats - 1) when(count === n.U) { held(n) := io.beat.bits }
    }
  }
  io.word <> queue.io.deq
}

/** 16-byte words to beats of the output bus, lowest bytes first. */
class OutputAdapter(busBits: Int) extends Module {
  private val beats = Words.bits / busBits
  val io = IO(new Bundle {
    val word = Flipped(Decoupled(UInt(Words.bits.W)))
    val beat = Decoupled(UInt(busBits.W))
  })
  io.beat.valid := io.word.valid
  if (beats == 1) {
    io.beat.bits := io.word.bits
    io.word.ready := io.beat.ready
  } else {
    val count = RegInit(0.U(log2Ceil(beats).W))
    io.beat.bits := VecInit(Seq.tabulate(beats)(n => io.word.bits(busBits * (n + 1) - 1, busBits * n)))(count)
    io.word.ready := io.beat.ready && count === (beats - 1).U
    when(io.beat.fire) { count := count + 1.U }
  }
}
