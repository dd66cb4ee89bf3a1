package dcphw

import java.nio.file.{Files, Path, Paths}

/** Elaborates designs: `--out DIR name/design.json ...`; the Verilog of `name/design.json` goes to `DIR/name`. */
object Elaborate {
  private val lowering =
    "disallowLocalVariables,disallowPackedArrays,noAlwaysComb,disallowPortDeclSharing"
  private val firtoolOptions = Array(
    s"--lowering-options=$lowering",
    "--disable-all-randomization",
    "--strip-debug-info",
    "-default-layer-specialization=enable"
  )

  def main(args: Array[String]): Unit = {
    require(args.length >= 3 && args(0) == "--out", "usage: Elaborate --out DIR name/design.json ...")
    val out = Paths.get(args(1))
    args.drop(2).map(Paths.get(_)).foreach(elaborate(out, _))
  }

  private def elaborate(out: Path, file: Path): Unit = {
    val design = Design.parse(Files.readString(file))
    val folder = out.resolve(file.toAbsolutePath.getParent.getFileName)
    Files.createDirectories(folder)
    _root_.circt.stage.ChiselStage.emitSystemVerilogFile(
      new Accelerator(design),
      Array("--target-dir", folder.toString, "--split-verilog"),
      firtoolOptions
    )
    sign(folder.resolve("Accelerator.sv"), design)
    println(s"${design.name} $folder")
  }

  /** Puts what it is the Verilog of on top of the top module. */
  private def sign(file: Path, design: Design): Unit = {
    val title = f"// Accelerator of design ${design.name}, ID 0x${design.id}%08x; see docs/hardware.md\n"
    Files.writeString(file, title + Files.readString(file))
  }
}
