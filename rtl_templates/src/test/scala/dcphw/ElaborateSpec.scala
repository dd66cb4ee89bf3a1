package dcphw

import java.nio.file.{Files, Path, Paths}

import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite

import scala.jdk.CollectionConverters._
import scala.reflect.io.Directory

class ElaborateSpec extends AnyFunSuite with BeforeAndAfterAll {
  private val folder = Paths.get("target", "elaborate")

  override def beforeAll(): Unit = {
    new Directory(folder.toFile).deleteRecursively()
    for (kind <- Golden.kinds) write(kind, Golden.text(kind))
  }

  private def write(name: String, json: String): Path = {
    val file = folder.resolve("json").resolve(name).resolve("design.json")
    Files.createDirectories(file.getParent)
    Files.writeString(file, json)
  }

  /** Folder with the Verilog of the design.json in `json/name`. */
  private def elaborate(name: String, out: String = "verilog"): Path = {
    val file = folder.resolve("json").resolve(name).resolve("design.json")
    Elaborate.main(Array("--out", folder.resolve(out).toString, file.toString))
    folder.resolve(out).resolve(name)
  }

  private def contents(folder: Path): Map[String, String] = {
    val listing = Files.list(folder)
    try listing.iterator.asScala.map(f => f.getFileName.toString -> Files.readString(f)).toMap
    finally listing.close()
  }

  private def count(pattern: String, text: String): Int = pattern.r.findAllIn(text).size

  /** Registers between PEs, from the delays and skews of design.json. */
  private def registers(json: ujson.Value): Int = {
    val tensors = json("tensors").obj
    def skew(pe: ujson.Value) = json("skew")(pe(0).num.toInt)(pe(1).num.toInt).num.toInt
    def hops(pes: Seq[ujson.Value]) = pes.zip(pes.tail).map { case (a, b) => (skew(a) - skew(b)).abs }
    val links = Seq("input", "weight").flatMap(tensors(_)("links").arr)
    val stages = tensors("output")("exits").arr.flatMap(_("stages").arr)
    val fills = Seq("input", "weight").flatMap(tensors(_)("chains").arr).flatMap(c => hops(c.arr.toSeq))
    val drains = tensors("output")("chains").arr.flatMap(c => hops(c("pes").arr.toSeq))
    (links ++ stages).map(_("delay").num.toInt).sum + fills.sum + drains.sum
  }

  for (kind <- Golden.kinds) test(s"$kind becomes Verilog with the parts that design.json lists") {
    val made = contents(elaborate(kind))
    val json = ujson.read(Golden.text(kind))
    val tensors = json("tensors")
    val listed = made("filelist.f").linesIterator.map(_.stripPrefix("./")).filter(_.nonEmpty).toSet
    assert(listed == made.keySet.filter(_.matches(".*\\.s?v")))

    val held = Seq("input", "weight").filter(t => tensors(t)("temporal").str == "chain")
    val accumulates = tensors("output")("temporal").str == "chain"
    val pe = "Pe" + held.map(t => s"Hold${t.capitalize}").mkString + (if (accumulates) "Accumulate" else "")
    val array = made("PeArray.sv")
    assert(count(s"(?m)^  $pe pe_\\d+_\\d+ \\(", array) == 16)
    assert(count("(?m)^  Pe\\w* ", array) == 16)
    assert(count("(?m)^  reg ", array) == registers(json))
    for (t <- Seq("input", "weight"))
      assert(count("(?m)^  OperandRam ", made(s"${t.capitalize}Banks.sv")) == tensors(t)("banks").num, t)
  }

  test("same JSON, same Verilog, whatever was elaborated before") {
    for (kind <- Seq("weight_stationary", "nvdla")) {
      val again = contents(elaborate(kind, "again"))
      assert(again.keySet == contents(folder.resolve("verilog").resolve(kind)).keySet)
      for ((name, text) <- contents(folder.resolve("verilog").resolve(kind))) assert(again(name) == text, name)
    }
  }

  test("narrow buses and words") {
    write(
      "narrow",
      Golden.changed("row_systolic") { json =>
        json("widths") = ujson.Obj("data" -> 4, "acc" -> 20)
        json("bus") = ujson.Obj("in_bits" -> 32, "out_bits" -> 64)
      }
    )
    val top = contents(elaborate("narrow"))("Accelerator.sv")
    assert(count("\\[31:0\\] +s_axis_tdata", top) == 1)
    assert(count("\\[63:0\\] +m_axis_tdata", top) == 1)
  }

  test("usage is told") {
    val error = intercept[IllegalArgumentException](Elaborate.main(Array("design.json")))
    assert(error.getMessage.contains("usage: Elaborate --out DIR"))
  }
}
