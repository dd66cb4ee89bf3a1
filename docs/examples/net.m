Constant TileC 64
Network net {
  Layer CONV1 {
    Type: CONV                      // or DSCONV, NGCONV, TRCONV, GEMM
    Stride { X: 2, Y: 2 }           // before Dimensions
    Dimensions { K: 64, C: 3, R: 7, S: 7, Y: 230, X: 230 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(TileC,TileC) C;
      TemporalMap(Sz(R),1) Y;
      Cluster(64, P);
      SpatialMap(1,1) C;
    }
  }
}
