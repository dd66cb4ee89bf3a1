// Chisel templates of dcp-hw: design.json in, SystemVerilog out.
ThisBuild / scalaVersion := "2.13.18"
ThisBuild / version := "0.1.0"
ThisBuild / organization := "dcphw"

val chiselVersion = "7.14.0"

lazy val root = (project in file("."))
  .settings(
    name := "dcphw-rtl",
    libraryDependencies ++= Seq(
      "org.chipsalliance" %% "chisel" % chiselVersion,
      // the version Chisel itself depends on: a newer one would replace it under Chisel
      "com.lihaoyi" %% "ujson" % "3.3.1",
      "org.scalatest" %% "scalatest" % "3.2.19" % Test
    ),
    // The plugin is published per full Scala version; 2.13.16 is the newest one
    // for Chisel 7.14.0 and loads into 2.13.18.
    addCompilerPlugin("org.chipsalliance" % "chisel-plugin_2.13.16" % chiselVersion),
    scalacOptions ++= Seq(
      "-language:reflectiveCalls",
      "-deprecation",
      "-feature",
      "-unchecked",
      "-Xcheckinit",
      "-Ymacro-annotations"
    ),
    Compile / mainClass := Some("dcphw.Elaborate"),
    Test / parallelExecution := false,
    assembly / mainClass := Some("dcphw.Elaborate"),
    assembly / test := {},
    assembly / assemblyJarName := "dcphw-rtl.jar", // dcp_hw/toolchain.py takes it from here
    assembly / assemblyMergeStrategy := {
      case PathList("META-INF", "services", _*) => MergeStrategy.concat
      case PathList("META-INF", "versions", _*) => MergeStrategy.first
      case PathList("META-INF", _*)             => MergeStrategy.discard
      case "module-info.class"                  => MergeStrategy.discard
      case "reference.conf"                     => MergeStrategy.concat
      case _                                    => MergeStrategy.first
    }
  )
