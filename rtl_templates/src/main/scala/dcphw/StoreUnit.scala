package dcphw

import chisel3._
import chisel3.util._

/** Runs STORE commands: reads lanes, requantises them, turns them into words. */
class StoreUnit(design: Design) extends Module {
  private val width = 16 // lanes of a group
  private val fifoWords = 64
  private val paramBits = Memories.addressBits(2 * design.paramRows)
  val io = IO(new Bundle {
    val command = Flipped(Decoupled(new StoreCommand))
    val outputComplete = Input(Vec(2, Bool()))
    val paramsFull = Input(Vec(2, Bool()))
    val freeOutput = Output(Vec(2, Bool()))
    val freeParams = Output(Vec(2, Bool()))
    val load = Flipped(Valid(new LoadStep)) // parameters
    val read = Output(new GroupRead)
    val lanes = Input(Vec(width, SInt(design.accBits.W)))
    val word = Decoupled(UInt(Words.bits.W))
    val checksum = Output(UInt(32.W))
    val values = Output(UInt(5.W))
    val idle = Output(Bool())
  })

  // --- the command that runs
  private val busy = RegInit(false.B)
  private val held = Reg(new StoreCommand)
  private val next = io.command.bits
  private val start =
    !busy && io.command.valid && io.outputComplete(next.outputBuffer) && (next.int32 || io.paramsFull(next.paramBuffer))
  io.command.ready := start
  when(start) { held := next }

  private val nest = Module(new LoopNest(4, 12, Seq(8, Words.addressBits, 8)))
  nest.io.start := start
  nest.io.bounds := held.bounds
  nest.io.bases := Seq(next.laneBase, next.addressBase, next.paramRow)
  nest.io.strides(0) := held.laneStrides
  nest.io.strides(1) := held.addressStrides
  nest.io.strides(2) := VecInit(held.paramStrides.map(_.pad(8)))
  nest.io.skip := 0.U

  // --- room in the FIFO: words are given out at the first step of a batch
  private val given, sent, committed = RegInit(0.U(7.W))
  private val isSingle = held.int32 || held.log2Group === 4.U
  private val batchFirst = isSingle || nest.io.atFirst(0)
  private val batchLast = isSingle || nest.io.atLast(0)
  private val pixels = Wire(UInt(16.W))
  pixels := held.pixelMask & ((1.U(17.W) << (16.U(5.W) >> held.log2Group)) - 1.U)(15, 0)
  private val batchWords = Mux(held.int32, 4.U, PopCount(pixels))
  private val used = (given - sent)(6, 0)
  private val issue = busy && (!batchFirst || used + batchWords <= fifoWords.U)
  private val last = issue && nest.io.done
  private val batchBase = Reg(UInt(7.W))
  private val base = Mux(batchFirst, given, batchBase)
  nest.io.advance := issue
  when(issue && batchFirst) {
    given := given + batchWords
    batchBase := given
  }
  when(start) { busy := true.B }.elsewhen(last) { busy := false.B }
  for (n <- 0 until 2) {
    io.freeOutput(n) := last && held.releaseOutput && held.outputBuffer === n.U
    io.freeParams(n) := last && held.releaseParams && held.paramBuffer === n.U
  }
  io.read.valid := issue
  io.read.buffer := held.outputBuffer
  io.read.group := nest.io.addresses(0)
  io.read.address := nest.io.addresses(1)

  // --- parameters: seven words per 16 channels, written as they come
  private val paramWord = RegEnable(io.load.bits.word, io.load.valid)
  private val paramBuffer = RegEnable(io.load.bits.buffer, io.load.valid)
  private val paramValid = RegNext(io.load.valid, false.B)
  private val piece = RegInit(0.U(3.W))
  private val paramRow = RegInit(0.U(8.W))
  private val loadFirst = io.load.bits.a === 0.U && io.load.bits.b === 0.U && io.load.bits.c === 0.U
  when(io.load.valid) {
    when(loadFirst) {
      piece := 0.U
      paramRow := 0.U
    }.elsewhen(piece === 6.U) {
      piece := 0.U
      paramRow := paramRow + 1.U
    }.otherwise { piece := piece + 1.U }
  }
  private def paramAddress(row: UInt, buffer: UInt): UInt =
    (row +& Mux(buffer === 1.U, design.paramRows.U, 0.U))(paramBits - 1, 0)
  private val params = Seq.tabulate(7) { n =>
    val ram = Module(new WordRam(2 * design.paramRows, Words.bits)).suggestName(s"params_$n")
    ram.io.clock := clock
    ram.io.ren := issue && !held.int32
    ram.io.raddr := paramAddress(nest.io.addresses(2), held.paramBuffer)
    ram.io.wen := paramValid && piece === n.U
    ram.io.waddr := paramAddress(paramRow, paramBuffer)
    ram.io.wdata := paramWord
    ram.io.rdata
  }
  private def slices(words: Seq[UInt], width: Int): Vec[UInt] =
    VecInit(words.flatMap(w => Seq.tabulate(Words.bits / width)(k => w(width * (k + 1) - 1, width * k))))
  private val biases = slices(params.slice(0, 4), 32)
  private val multipliers = slices(params.slice(4, 6), 16)
  private val shifts = slices(params.slice(6, 7), 8)

  // --- stage 1: lanes and parameters have been read
  private class Control extends Bundle {
    val valid = Bool()
    val int32 = Bool()
    val step = UInt(4.W)
    val log2Group = UInt(3.W)
    val mask = UInt(16.W)
    val base = UInt(6.W)
    val commit = UInt(5.W) // words that are complete with this step
  }
  private val control = Wire(new Control)
  private val counted = nest.io.counts(0)(3, 0)
  control.valid := issue
  control.int32 := held.int32
  control.step := Mux(held.log2Group === 4.U, 0.U, counted)
  control.log2Group := held.log2Group
  control.mask := pixels
  control.base := base(5, 0)
  control.commit := Mux(batchLast, batchWords, 0.U)
  private val control1, control2, control3, control4, control5 = Wire(new Control)
  for ((to, from) <- Seq(
      control1 -> control,
      control2 -> control1,
      control3 -> control2,
      control4 -> control3,
      control5 -> control4
    )) {
    to := RegNext(from)
    to.valid := RegNext(from.valid, false.B)
  }
  private val firstRow = RegEnable(held.paramRow, issue)
  private val row1 = RegEnable(nest.io.addresses(2), issue)
  private val channels1 = RegEnable(held.channels, issue)
  private val blockChannel = ((row1 - firstRow) ## 0.U(4.W)).asUInt // 16 channels per row

  private val lane2 = Seq.tabulate(width) { s =>
    val inGroup = s.U(4.W) & (~(15.U(4.W) << control1.log2Group)(3, 0)).asUInt
    val channel = ((control1.step << control1.log2Group)(3, 0) | inGroup)(3, 0)
    val pixel = (s.U(4.W) >> control1.log2Group)(3, 0)
    val valid = control1.mask(pixel) && (blockChannel + channel) < channels1
    val v = RegInit(false.B)
    v := control1.valid && valid
    val sum = Reg(SInt(32.W))
    val bias = Reg(SInt(32.W))
    val multiplier = Reg(UInt(16.W))
    val shift = Reg(UInt(6.W))
    when(control1.valid) {
      sum := Mux(valid, io.lanes(s), 0.S)
      bias := biases(channel).asSInt
      multiplier := multipliers(channel)
      shift := shifts(channel)(5, 0)
    }
    (v, sum, bias, multiplier, shift)
  }

  // --- checksum
  private val checksum = RegInit(0.U(32.W))
  private val wide = lane2.map(_._2.asUInt)
  when(control2.valid) { checksum := checksum + wide.reduceLeft((x, y) => x + y) }
  io.checksum := checksum
  io.values := Mux(control2.valid, PopCount(lane2.map(_._1)), 0.U)

  // --- stages 2 to 4: bias, multiply, round and saturate
  private val bytes = lane2.map { case (valid, sum, bias, multiplier, shift) =>
    val biased = RegEnable(sum +& bias, control2.valid)
    val multiplier3 = RegEnable(multiplier, control2.valid)
    val shift3 = RegEnable(shift, control2.valid)
    val valid3 = RegNext(valid, false.B)
    val product = RegEnable(biased * multiplier3.zext, control3.valid)
    val shift4 = RegEnable(shift3, control3.valid)
    val valid4 = RegNext(valid3, false.B)
    val result = Reg(UInt(8.W))
    when(control4.valid) { result := Mux(valid4, Requantise(product, shift4), 0.U) }
    result
  }
  private val raw = (2 until 5).foldLeft(VecInit(wide).asUInt)((v, n) =>
    RegEnable(v, Seq(control2, control3, control4)(n - 2).valid && Seq(control2, control3, control4)(n - 2).int32)
  )

  // --- stage 5: words
  private val fifo = Module(new CornerFifo)
  fifo.io.clock := clock
  fifo.io.wen := control5.valid
  fifo.io.base := control5.base
  fifo.io.step := control5.step
  fifo.io.log2group := control5.log2Group
  fifo.io.mask := control5.mask
  fifo.io.bytes := VecInit(bytes).asUInt
  fifo.io.wide := control5.int32
  fifo.io.words := raw
  fifo.io.raddr := sent(5, 0)
  when(control5.valid) { committed := committed + control5.commit }
  io.word.valid := sent =/= committed
  io.word.bits := fifo.io.rdata
  when(io.word.fire) { sent := sent + 1.U }
  io.idle := !busy && given === sent
}

object Requantise {

  /** `value / 2^shift`, rounded half to even, saturated to int8. */
  def apply(value: SInt, shift: UInt): UInt = {
    val floor = value >> shift
    val rest = value.asUInt & ((1.U(48.W) << shift)(47, 0) - 1.U).pad(value.getWidth)
    val twice = rest ## 0.U(1.W)
    val one = (1.U(49.W) << shift)(48, 0)
    val up = twice > one || (twice === one && floor(0))
    val rounded = floor +& Mux(up, 1.S(2.W), 0.S(2.W))
    val clipped = Mux(rounded > 127.S, 127.S(8.W), Mux(rounded < -128.S, -128.S(8.W), rounded(7, 0).asSInt))
    clipped.asUInt
  }
}
