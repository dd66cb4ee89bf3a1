package dcphw

import circt.stage.ChiselStage
import org.scalatest.funsuite.AnyFunSuite
import ujson.{Arr, Obj, Value}

class DesignSpec extends AnyFunSuite {
  for (kind <- Golden.kinds) test(s"$kind is read as it is written") {
    val json = ujson.read(Golden.text(kind))
    val design = Golden.design(kind)
    assert(design.name == json("name").str)
    assert(Seq(design.rows, design.cols) == Seq(4, 4))
    assert(design.skewMax == json("skew").arr.flatMap(_.arr.map(_.num.toInt)).max)
    for (operand <- design.operands) {
      val tensor = json("tensors")(operand.name)
      assert(operand.isChain == (tensor("temporal").str == "chain"))
      assert(operand.ports.size == tensor("ports").arr.size)
      assert(operand.links.size == tensor("links").arr.size)
      assert(operand.lanes.size == operand.banks)
    }
    assert(design.exitPes.map(_._1).sorted == (0 until design.output.banks))
  }

  test("the identity is the start of the file's SHA-256") {
    val text = Golden.text("nvdla")
    val digest = java.security.MessageDigest.getInstance("SHA-256").digest(text.getBytes("UTF-8"))
    assert(f"${Design.parse(text).id}%08x" == digest.take(4).map("%02x".format(_)).mkString)
    assert(Design.parse(text + "\n").id != Design.parse(text).id)
  }

  // --- what is refused

  private def refused(what: String, kind: String, message: String)(change: Value => Unit): Unit =
    test(s"refused: $what") {
      val text = Golden.changed(kind)(change)
      val error = intercept[IllegalArgumentException] {
        ChiselStage.emitCHIRRTL(new Accelerator(Design.parse(text)))
      }
      assert(error.getMessage.contains(message))
    }

  private def pe(row: Int, col: Int): Arr = Arr(row, col)
  private def links(json: Value, tensor: String) = json("tensors")(tensor)("links").arr
  private def ports(json: Value, tensor: String) = json("tensors")(tensor)("ports").arr

  refused("another schema", "nvdla", "schema 2, this generator reads 1")(_("schema") = 2)
  refused("no rows", "nvdla", "at least 1 x 1, got 0 x 4")(_("array")("rows") = 0)
  refused("a bus of 48 bits", "nvdla", "bus.in_bits must be 32, 64 or 128, got 48")(_("bus")("in_bits") = 48)
  refused("a bus of 8 bits", "nvdla", "bus.out_bits must be 32, 64 or 128, got 8")(_("bus")("out_bits") = 8)
  refused("wide data", "nvdla", "widths.data must be 2 .. 8, got 9")(_("widths")("data") = 9)
  refused("narrow sums", "nvdla", "widths.acc must be")(_("widths")("acc") = 7)

  refused("an operand with two sources", "weight_stationary", "input: PE 1_0 needs exactly one source, has 2") {
    ports(_, "input") += Obj("bank" -> 0, "slot" -> 0, "pe" -> pe(1, 0))
  }
  refused("an operand without source", "weight_stationary", "input: PE 1_0 needs exactly one source, has 0") {
    links(_, "input").remove(0)
  }
  refused("a PE in no chain", "weight_stationary", "weight: PE 0_3 needs exactly one source, has 0") {
    _("tensors")("weight")("chains")(0).arr.remove(3)
  }
  refused("a port outside the array", "unicast_tree", "PE 0_4 is outside the array of 4 x 4") {
    ports(_, "input")(0)("pe") = pe(0, 4)
  }
  refused("a link with a wrong delay", "weight_stationary", "link 0_0 to 1_0 has delay 2, the skews differ by 1") {
    links(_, "input")(0)("delay") = 2
  }
  test("with windows links and stages may be as late as listed") {
    val late = Design.parse(Golden.changed("windows") { json =>
      links(json, "input")(0)("delay") = 3
      output(json)("exits")(1)("stages")(1)("delay") = 2
    })
    assert(late.window.contains(Seq(1, -1, 1, 0)))
    assert(late.input.links.head.delay == 3)
    assert(Golden.design("nvdla").window.isEmpty)
  }
  refused("a window of three digits", "windows", "window.steps needs 4 entries, got 3") {
    _("window")("steps").arr.remove(3)
  }
  refused("a window in long strides", "windows", "window.steps must be -7 .. 7, got 1, -1, 8, 0") {
    _("window")("steps")(2) = 8
  }
  refused("windows and chains", "weight_stationary", "a design with windows has no chains, got weight") {
    _("window") = Obj("steps" -> Arr(0, 0, 1, 0))
  }
  refused("with windows a link that goes back in time", "windows", "has delay -1") {
    links(_, "input")(0)("delay") = -1
  }
  refused("with windows a late first stage", "windows", "stage 0 of exit 0 has delay 1") {
    output(_)("exits")(0)("stages")(0)("delay") = 1
  }
  refused("a link that goes back in time", "weight_stationary", "the skews differ by -1") { json =>
    json("skew")(0)(0) = 2
    links(json, "input")(0)("delay") = -1
  }
  refused("two held operands", "weight_stationary", "at most one tensor can be a chain, got input and weight") { json =>
    val input = json("tensors")("input")
    input("temporal") = "chain"
    input("links") = Arr()
    input("chains") = Arr.from((0 until 4).map(j => Arr.from((0 until 4).map(i => pe(i, j)))))
  }
  refused("a product that is added twice", "nvdla", "output: PE 0_0 must be in exactly one exit stage") {
    _("tensors")("output")("exits")(1)("stages")(0)("pes").arr += pe(0, 0)
  }
  refused("a product that is not added", "nvdla", "output: PE 0_0 must be in exactly one exit stage") {
    _("tensors")("output")("exits")(0)("stages")(0)("pes").arr.remove(0)
  }
  refused("a PE in two drain chains", "output_stationary", "PE 0_3 must be in exactly one exit stage or drain chain") {
    _("tensors")("output")("chains")(1)("pes").arr += pe(0, 3)
  }
  refused("a bank without port", "unicast_tree", "input: bank 4 has no port") { json =>
    val input = json("tensors")("input")
    input("banks") = 5
    input("lanes").arr += pe(0, 0)
  }
  refused("a bank read at two times", "weight_stationary", "the ports of bank 0 have skews 0, 1") { json =>
    val input = json("tensors")("input")
    input("banks") = 3
    input("lanes").arr.remove(3)
    for ((bank, n) <- Seq(0, 0, 1, 2).zipWithIndex) input("ports")(n)("bank") = bank
  }
  refused("a fill against the skew", "weight_stationary", "weight: chain must follow the skew") { json =>
    val weight = json("tensors")("weight")
    weight("chains")(0) = Arr.from(weight("chains")(0).arr.reverse)
    weight("ports")(0)("pe") = pe(0, 3)
  }
  refused("a drain against the skew", "output_stationary", "output: drain chain must follow the skew") { json =>
    val chain = json("tensors")("output")("chains")(0)
    chain("pes") = Arr.from(chain("pes").arr.reverse)
  }

  private def output(json: Value): Value = json("tensors")("output")

  refused("a skew of another size", "nvdla", "skew must be 4 x 4")(_("skew").arr.remove(3))
  refused("a negative skew", "nvdla", "skew must be >= 0, got -1")(_("skew")(0)(0) = -1)
  refused("an unknown kind", "nvdla", "input: temporal must be none or chain, got held") {
    _("tensors")("input")("temporal") = "held"
  }
  refused("a held operand and held sums", "output_stationary", "at most one tensor can be a chain") { json =>
    val weight = json("tensors")("weight")
    weight("temporal") = "chain"
    weight("links") = Arr()
    weight("chains") = Arr.from((0 until 4).map(i => Arr.from((0 until 4).map(j => pe(i, j)))))
  }
  refused("links in a loop", "row_stationary", "weight: no port leads to PE") { json =>
    // each the source of the other, in one cycle
    val all = links(json, "weight")
    val to = all.map(_("to")).filter(_(0).num == 0)
    for ((link, from) <- all.filter(_("to")(0).num == 0).zip(to.tail :+ to.head)) link("from") = from
  }
  refused("too few lanes", "nvdla", "weight: 16 banks, but")(_("tensors")("weight")("banks") = 16)
  refused("a port without bank", "nvdla", "input: PE 0_0 reads bank 9") { json =>
    ports(json, "input")(0)("bank") = 9
  }
  refused("a port beyond the slots", "nvdla", "input: PE 0_0 reads slot 7") { json =>
    ports(json, "input")(0)("slot") = 7
  }
  refused("chains of two lengths", "weight_stationary", "weight: chains must be of one length") { json =>
    val chains = json("tensors")("weight")("chains")
    chains(1).arr += chains(0)(3)
    chains(0).arr.remove(3)
  }
  refused("a port within a chain", "weight_stationary", "weight: ports must name the first PE of each chain") {
    ports(_, "weight")(0)("pe") = pe(0, 1)
  }
  refused("two exits of one bank", "nvdla", "output: each of 4 banks needs one exit or chain, got 0, 0, 2, 3") {
    output(_)("exits")(1)("bank") = 0
  }
  refused("one lane for two banks", "nvdla", "output: store_lanes must be 4 different lanes") {
    output(_)("store_lanes")(1) = 0
  }
  refused("a sum that comes late", "weight_stationary", "stage 1 of exit 0 has delay 2, the skews differ by 1") {
    output(_)("exits")(0)("stages")(1)("delay") = 2
  }
  refused("a sum over two times", "weight_stationary", "PEs of stage 0 of exit 0 have skews 0, 1") { json =>
    val stages = output(json)("exits")(0)("stages")
    stages(0)("pes").arr += pe(0, 1)
    stages.arr.remove(1)
  }
  refused("drains of two lengths", "output_stationary", "output: chains must be of one length") { json =>
    val chains = output(json)("chains")
    chains(1)("pes").arr += chains(0)("pes")(3)
    chains(0)("pes").arr.remove(3)
  }
}
