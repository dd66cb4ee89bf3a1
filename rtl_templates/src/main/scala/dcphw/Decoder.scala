package dcphw

import chisel3._
import chisel3.util._

/** Reads a program: settings, lane tables, loads (which it performs), and commands for the queues.
  *
  * Data come with the stream; commands too, or as words of their own.
  */
class Decoder(design: Design) extends Module {
  private val laneWords = design.rows + design.cols
  val io = IO(new Bundle {
    val stream = Flipped(Decoupled(UInt(Words.bits.W)))
    val program = Flipped(Decoupled(UInt(Words.bits.W)))
    val inBand = Input(Bool()) // commands come with the stream
    val execQuiet = Input(Bool())
    val taken = Input(Vec(3, Vec(2, Bool()))) // buffers of input, weight, parameters that are full
    val filled = Output(Vec(3, Vec(2, Bool()))) // pulse: full from the next cycle on
    val inputShape = Output(new LoadShape)
    val weightShape = Output(new LoadShape)
    val nest = Output(new NestConfig)
    val laneWord = Valid(UInt(Words.bits.W))
    val lanesDone = Output(Bool())
    val load = Valid(new LoadStep)
    val loadTensor = Output(UInt(2.W))
    val exec = Decoupled(new ExecCommand)
    val store = Decoupled(new StoreCommand)
    val configuring = Output(Bool())
    val ended = Output(Bool())
    val error = Output(Bool())
  })

  private object State extends ChiselEnum { val header, config, lanes, load, exec, store, end = Value }
  private val state = RegInit(State.header)
  private val count = Reg(UInt(log2Ceil(laneWords.max(8) + 1).W))
  private val first = Reg(UInt(Words.bits.W))
  private val ended = RegInit(false.B)
  private val error = RegInit(false.B)
  io.ended := ended
  io.error := error

  private val word = Wire(Decoupled(UInt(Words.bits.W)))
  private val fromStream = io.inBand || state === State.load
  word.valid := Mux(fromStream, io.stream.valid, io.program.valid)
  word.bits := Mux(fromStream, io.stream.bits, io.program.bits)
  io.stream.ready := fromStream && word.ready
  io.program.ready := !fromStream && word.ready

  // --- settings
  private val inputShape = Reg(new LoadShape)
  private val weightShape = Reg(new LoadShape)
  private val nest = Reg(new NestConfig)
  io.inputShape := inputShape
  io.weightShape := weightShape
  io.nest := nest

  // --- load counters
  private val tensor = Reg(UInt(2.W))
  private val buffer = Reg(UInt(1.W))
  private def coordinate = UInt(Words.coordinateBits.W)
  private val na, nb, bLo, bHi, cLo, cHi, a, b, c = Reg(coordinate)
  private val clear = Reg(Bool()) // rows have steps cLo to cHi - 1 only
  private val cFirst, cEnd = Reg(coordinate)
  private val addressA, addressB, address = Reg(UInt(Words.addressBits.W))
  private val shape = Mux(tensor === 0.U, inputShape, weightShape)
  private val isPadding = b < bLo || b >= bHi || c < cLo || c >= cHi
  private val loadStep = state === State.load && (isPadding || word.valid)
  private val lastC = c === cEnd - 1.U
  private val lastB = b === nb - 1.U
  private val lastA = a === na - 1.U
  private val loadLast = loadStep && lastC && lastB && lastA

  private val bits = word.bits
  private val op = bits(3, 0)
  private val isSettings = op === Opcode.config.U || op === Opcode.lanes.U
  private val headerTensor = bits(5, 4)
  private val headerBuffer = bits(6)
  private val pending = RegInit(VecInit.fill(3, 2)(false.B))
  private val bufferTaken =
    MuxLookup(headerTensor, false.B)(
      (0 until 3).map(t => t.U -> (io.taken(t)(headerBuffer) || pending(t)(headerBuffer)))
    )
  private val headerReady = MuxCase(
    true.B,
    Seq(
      isSettings -> io.execQuiet,
      (op === Opcode.load.U) -> !bufferTaken,
      (op === Opcode.exec.U) -> io.exec.ready,
      (op === Opcode.store.U) -> io.store.ready
    )
  )

  word.ready := MuxLookup(state, false.B)(
    Seq(
      State.header -> headerReady,
      State.config -> true.B,
      State.lanes -> true.B,
      State.load -> !isPadding,
      State.exec -> true.B,
      State.store -> true.B
    )
  )
  io.configuring := state === State.config || state === State.lanes ||
    (state === State.header && word.valid && isSettings)

  for (t <- 0 until 3; n <- 0 until 2) {
    pending(t)(n) := loadLast && tensor === t.U && buffer === n.U
    io.filled(t)(n) := pending(t)(n)
  }

  io.load.valid := loadStep
  io.load.bits.a := a
  io.load.bits.b := b
  io.load.bits.c := c
  io.load.bits.address := address
  io.load.bits.buffer := buffer
  io.load.bits.word := Mux(isPadding, 0.U, bits)
  io.load.bits.clear := clear
  io.load.bits.first := c === cFirst
  io.loadTensor := tensor

  io.laneWord.valid := state === State.lanes && word.valid
  io.laneWord.bits := bits
  io.lanesDone := io.laneWord.valid && count === (laneWords - 1).U

  io.exec.valid := state === State.exec && word.valid
  io.exec.bits := ExecCommand(first, bits)
  io.store.valid := state === State.store && word.valid
  io.store.bits := StoreCommand(first, bits)

  switch(state) {
    is(State.header) {
      when(word.fire) {
        first := bits
        count := 0.U
        switch(op) {
          is(Opcode.config.U) { state := State.config }
          is(Opcode.lanes.U) { state := State.lanes }
          is(Opcode.load.U) { state := State.load }
          is(Opcode.exec.U) { state := State.exec }
          is(Opcode.store.U) { state := State.store }
          is(Opcode.end.U) {
            state := State.end
            ended := true.B
          }
        }
        when(!VecInit(Seq(1, 2, 3, 4, 5, 15).map(_.U === op)).asUInt.orR) {
          state := State.end
          error := true.B
        }
        when(op === Opcode.load.U) {
          tensor := headerTensor
          buffer := headerBuffer
          na := bits(17, 8)
          nb := bits(27, 18)
          bLo := bits(47, 38)
          bHi := bits(57, 48)
          cLo := bits(67, 58)
          cHi := bits(77, 68)
          clear := bits(78)
          val start = Mux(bits(78), bits(94, 79), 0.U)
          val low = Mux(bits(78), bits(67, 58), 0.U)
          cFirst := low
          cEnd := Mux(bits(78), bits(77, 68), bits(37, 28))
          a := 0.U
          b := 0.U
          c := low
          addressA := start
          addressB := start
          address := start
        }
      }
    }
    is(State.config) {
      when(word.fire) {
        count := count + 1.U
        when(count === 0.U) {
          inputShape := LoadShape(bits)
          nest.sweepMin := bits(95, 80)
        }
        when(count === 1.U) { weightShape := LoadShape(bits) }
        for ((strides, n) <- Seq(nest.inputStride, nest.weightStride, nest.outputStride).zipWithIndex)
          when(count === (n + 2).U) {
            for (l <- 0 until Words.loops) strides(l) := bits(16 * l + 15, 16 * l)
          }
        when(count === 2.U) { nest.inputFillStride := bits(111, 96) }
        when(count === 3.U) { nest.weightFillStride := bits(111, 96) }
        when(count === 4.U) {
          nest.drainStride := bits(111, 96)
          nest.runDepth := bits(114, 112)
          nest.reductions := bits(122, 117)
          nest.sweepDepth := bits(125, 123)
          state := State.header
        }
      }
    }
    is(State.lanes) {
      when(word.fire) {
        count := count + 1.U
        when(io.lanesDone) { state := State.header }
      }
    }
    is(State.load) {
      when(loadStep) {
        when(!lastC) {
          c := c + 1.U
          address := address + shape.strideC
        }.elsewhen(!lastB) {
          val next = addressB + shape.strideB
          c := cFirst
          b := b + 1.U
          addressB := next
          address := next
        }.otherwise {
          val next = addressA + shape.strideA
          c := cFirst
          b := 0.U
          a := a + 1.U
          addressA := next
          addressB := next
          address := next
        }
        when(loadLast) { state := State.header }
      }
    }
    is(State.exec) { when(word.fire) { state := State.header } }
    is(State.store) { when(word.fire) { state := State.header } }
  }
}
