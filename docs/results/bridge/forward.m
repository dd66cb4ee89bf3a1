Network network {
  Layer features_0_0 {
    Type: CONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 32, C: 3, Y: 226, X: 226, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) C;
      SpatialMap(2,2) Y';
      TemporalMap(32,32) K;
      TemporalMap(3,3) S;
      TemporalMap(3,3) R;
      TemporalMap(1,1) X';
      Cluster(8, P);
      TemporalMap(3,3) C;
      TemporalMap(3,3) R;
      TemporalMap(2,2) Y';
      TemporalMap(1,1) X';
      SpatialMap(4,4) K;
      TemporalMap(3,3) S;
      Cluster(4, P);
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) C;
      TemporalMap(2,2) Y';
      SpatialMap(1,1) K;
      TemporalMap(1,1) X';
    }
  }
  Layer features_1_conv_0_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 32, Y: 114, X: 114, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) S;
      TemporalMap(1,1) C;
      SpatialMap(2,2) Y';
      TemporalMap(3,3) R;
      TemporalMap(8,8) X';
      Cluster(3, P);
      TemporalMap(1,1) C;
      SpatialMap(1,1) R;
      TemporalMap(3,3) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
    }
  }
  Layer features_1_conv_1 {
    Type: CONV
    Dimensions { K: 16, C: 32, Y: 112, X: 112, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(32,32) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(32, P);
      TemporalMap(2,2) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      SpatialMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_2_conv_0_0 {
    Type: CONV
    Dimensions { K: 96, C: 16, Y: 112, X: 112, R: 1, S: 1 }
    Dataflow {
      SpatialMap(3,3) K;
      TemporalMap(16,16) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(8, P);
      TemporalMap(3,3) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      SpatialMap(2,2) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_2_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 96, Y: 114, X: 114, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      SpatialMap(10,10) X';
      TemporalMap(1,1) Y';
      Cluster(42, P);
      TemporalMap(1,1) C;
      SpatialMap(1,1) X';
      TemporalMap(3,3) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) R;
    }
  }
  Layer features_2_conv_2 {
    Type: CONV
    Dimensions { K: 24, C: 96, Y: 56, X: 56, R: 1, S: 1 }
    Dataflow {
      TemporalMap(24,24) K;
      SpatialMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(8, P);
      SpatialMap(3,3) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_3_conv_0_0 {
    Type: CONV
    Dimensions { K: 144, C: 24, Y: 56, X: 56, R: 1, S: 1 }
    Dataflow {
      TemporalMap(24,24) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) R;
      TemporalMap(2,2) X';
      TemporalMap(1,1) S;
      SpatialMap(9,9) K;
      Cluster(2, P);
      TemporalMap(9,9) K;
      TemporalMap(1,1) S;
      TemporalMap(24,24) C;
      TemporalMap(1,1) R;
      SpatialMap(1,1) X';
      TemporalMap(1,1) Y';
      Cluster(8, P);
      TemporalMap(9,9) K;
      TemporalMap(1,1) S;
      TemporalMap(1,1) R;
      SpatialMap(3,3) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
    }
  }
  Layer features_3_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 144, Y: 58, X: 58, R: 3, S: 3 }
    Dataflow {
      TemporalMap(1,1) C;
      TemporalMap(3,3) R;
      SpatialMap(1,1) Y';
      TemporalMap(8,8) X';
      TemporalMap(3,3) S;
      Cluster(4, P);
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
      TemporalMap(3,3) S;
      SpatialMap(1,1) R;
      TemporalMap(1,1) C;
    }
  }
  Layer features_3_conv_2 {
    Type: CONV
    Dimensions { K: 24, C: 144, Y: 56, X: 56, R: 1, S: 1 }
    Dataflow {
      TemporalMap(24,24) K;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      SpatialMap(9,9) C;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(8, P);
      TemporalMap(1,1) S;
      SpatialMap(3,3) K;
      TemporalMap(1,1) R;
      TemporalMap(9,9) C;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(2, P);
      TemporalMap(1,1) Y';
      TemporalMap(1,1) S;
      SpatialMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) C;
      TemporalMap(3,3) K;
    }
  }
  Layer features_4_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 144, Y: 58, X: 58, R: 3, S: 3 }
    Dataflow {
      SpatialMap(1,1) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      TemporalMap(1,1) Y';
      TemporalMap(28,28) X';
      Cluster(32, P);
      TemporalMap(1,1) Y';
      SpatialMap(1,1) X';
      TemporalMap(1,1) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
    }
  }
  Layer features_4_conv_2 {
    Type: CONV
    Dimensions { K: 32, C: 144, Y: 28, X: 28, R: 1, S: 1 }
    Dataflow {
      TemporalMap(32,32) K;
      SpatialMap(9,9) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(16, P);
      SpatialMap(2,2) K;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_5_conv_0_0 {
    Type: CONV
    Dimensions { K: 192, C: 32, Y: 28, X: 28, R: 1, S: 1 }
    Dataflow {
      SpatialMap(12,12) K;
      TemporalMap(32,32) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(16, P);
      TemporalMap(12,12) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      SpatialMap(2,2) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_5_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 192, Y: 30, X: 30, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) R;
      TemporalMap(2,2) C;
      TemporalMap(3,3) S;
      SpatialMap(1,1) Y';
      TemporalMap(4,4) X';
      Cluster(3, P);
      TemporalMap(1,1) Y';
      TemporalMap(1,1) C;
      TemporalMap(1,1) X';
      SpatialMap(1,1) R;
      TemporalMap(3,3) S;
    }
  }
  Layer features_5_conv_2 {
    Type: CONV
    Dimensions { K: 32, C: 192, Y: 28, X: 28, R: 1, S: 1 }
    Dataflow {
      TemporalMap(32,32) K;
      SpatialMap(6,6) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(8, P);
      SpatialMap(2,2) K;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_7_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 192, Y: 30, X: 30, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) R;
      TemporalMap(2,2) C;
      TemporalMap(3,3) S;
      SpatialMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(7, P);
      TemporalMap(2,2) C;
      SpatialMap(1,1) R;
      TemporalMap(3,3) S;
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
    }
  }
  Layer features_7_conv_2 {
    Type: CONV
    Dimensions { K: 64, C: 192, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      TemporalMap(64,64) K;
      SpatialMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(4, P);
      SpatialMap(2,2) K;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_8_conv_0_0 {
    Type: CONV
    Dimensions { K: 384, C: 64, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      SpatialMap(7,7) Y';
      TemporalMap(1,1) R;
      TemporalMap(64,64) C;
      TemporalMap(2,2) K;
      TemporalMap(1,1) S;
      TemporalMap(14,14) X';
      Cluster(64, P);
      TemporalMap(1,1) R;
      TemporalMap(7,7) Y';
      TemporalMap(2,2) K;
      SpatialMap(1,1) C;
      TemporalMap(1,1) S;
      TemporalMap(14,14) X';
      Cluster(2, P);
      TemporalMap(1,1) X';
      TemporalMap(1,1) S;
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      SpatialMap(1,1) K;
      TemporalMap(1,1) Y';
    }
  }
  Layer features_8_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 384, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      TemporalMap(14,14) X';
      SpatialMap(1,1) C;
      TemporalMap(1,1) Y';
      Cluster(16, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(3,3) S;
      SpatialMap(1,1) X';
      TemporalMap(1,1) Y';
    }
  }
  Layer features_8_conv_2 {
    Type: CONV
    Dimensions { K: 64, C: 384, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      TemporalMap(64,64) K;
      SpatialMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      Cluster(2, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) X';
      TemporalMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_11_conv_2 {
    Type: CONV
    Dimensions { K: 96, C: 384, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      TemporalMap(96,96) K;
      SpatialMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(2, P);
      SpatialMap(1,1) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_12_conv_0_0 {
    Type: CONV
    Dimensions { K: 576, C: 96, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      TemporalMap(1,1) R;
      SpatialMap(96,96) C;
      TemporalMap(16,16) K;
      TemporalMap(1,1) S;
      TemporalMap(14,14) Y';
      TemporalMap(14,14) X';
      Cluster(16, P);
      TemporalMap(1,1) Y';
      TemporalMap(1,1) S;
      SpatialMap(6,6) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(16,16) K;
      Cluster(16, P);
      TemporalMap(6,6) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      SpatialMap(1,1) K;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
    }
  }
  Layer features_12_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 576, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      TemporalMap(3,3) R;
      SpatialMap(1,1) C;
      TemporalMap(3,3) S;
      TemporalMap(1,1) X';
      TemporalMap(14,14) Y';
      Cluster(32, P);
      TemporalMap(1,1) X';
      SpatialMap(1,1) Y';
      TemporalMap(3,3) R;
      TemporalMap(1,1) C;
      TemporalMap(1,1) S;
    }
  }
  Layer features_12_conv_2 {
    Type: CONV
    Dimensions { K: 96, C: 576, Y: 14, X: 14, R: 1, S: 1 }
    Dataflow {
      TemporalMap(6,6) C;
      TemporalMap(1,1) R;
      TemporalMap(14,14) Y';
      TemporalMap(1,1) S;
      SpatialMap(16,16) K;
      TemporalMap(14,14) X';
      Cluster(14, P);
      TemporalMap(1,1) R;
      TemporalMap(16,16) K;
      TemporalMap(1,1) S;
      TemporalMap(14,14) X';
      TemporalMap(3,3) C;
      SpatialMap(1,1) Y';
      Cluster(3, P);
      TemporalMap(1,1) Y';
      TemporalMap(2,2) X';
      TemporalMap(1,1) R;
      TemporalMap(2,2) K;
      TemporalMap(1,1) S;
      SpatialMap(1,1) C;
    }
  }
  Layer features_14_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 576, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      SpatialMap(1,1) C;
      TemporalMap(3,3) S;
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(1,1) Y';
      Cluster(5, P);
      TemporalMap(3,3) S;
      SpatialMap(1,1) R;
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(4,4) X';
      Cluster(3, P);
      SpatialMap(1,1) S;
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
    }
  }
  Layer features_14_conv_2 {
    Type: CONV
    Dimensions { K: 160, C: 576, Y: 7, X: 7, R: 1, S: 1 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(1,1) R;
      SpatialMap(20,20) K;
      TemporalMap(1,1) S;
      TemporalMap(7,7) X';
      TemporalMap(7,7) Y';
      Cluster(2, P);
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      SpatialMap(10,10) K;
      TemporalMap(1,1) Y';
      TemporalMap(16,16) C;
      TemporalMap(3,3) X';
      Cluster(16, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) R;
      SpatialMap(1,1) C;
      TemporalMap(3,3) X';
      TemporalMap(1,1) Y';
      TemporalMap(1,1) S;
    }
  }
  Layer features_15_conv_0_0 {
    Type: CONV
    Dimensions { K: 960, C: 160, Y: 7, X: 7, R: 1, S: 1 }
    Dataflow {
      TemporalMap(1,1) S;
      SpatialMap(20,20) C;
      TemporalMap(8,8) K;
      TemporalMap(7,7) Y';
      TemporalMap(1,1) R;
      TemporalMap(7,7) X';
      Cluster(4, P);
      TemporalMap(8,8) K;
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
      SpatialMap(5,5) C;
      TemporalMap(1,1) S;
      TemporalMap(1,1) R;
      Cluster(8, P);
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      SpatialMap(1,1) K;
      TemporalMap(5,5) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
    }
  }
  Layer features_15_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 960, Y: 9, X: 9, R: 3, S: 3 }
    Dataflow {
      SpatialMap(1,1) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      TemporalMap(1,1) Y';
      TemporalMap(7,7) X';
      Cluster(16, P);
      TemporalMap(1,1) Y';
      SpatialMap(1,1) X';
      TemporalMap(1,1) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
    }
  }
  Layer features_15_conv_2 {
    Type: CONV
    Dimensions { K: 160, C: 960, Y: 7, X: 7, R: 1, S: 1 }
    Dataflow {
      SpatialMap(5,5) K;
      TemporalMap(8,8) C;
      TemporalMap(1,1) R;
      TemporalMap(7,7) Y';
      TemporalMap(1,1) S;
      TemporalMap(7,7) X';
      Cluster(8, P);
      TemporalMap(3,3) K;
      TemporalMap(1,1) S;
      SpatialMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) R;
      TemporalMap(1,1) X';
    }
  }
  Layer features_17_conv_2 {
    Type: CONV
    Dimensions { K: 320, C: 960, Y: 7, X: 7, R: 1, S: 1 }
    Dataflow {
      SpatialMap(10,10) K;
      TemporalMap(8,8) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(7,7) Y';
      TemporalMap(7,7) X';
      Cluster(8, P);
      TemporalMap(5,5) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      SpatialMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_18_0 {
    Type: CONV
    Dimensions { K: 1280, C: 320, Y: 7, X: 7, R: 1, S: 1 }
    Dataflow {
      SpatialMap(20,20) C;
      TemporalMap(7,7) Y';
      TemporalMap(7,7) X';
      TemporalMap(1,1) S;
      TemporalMap(1,1) R;
      TemporalMap(4,4) K;
      Cluster(4, P);
      TemporalMap(1,1) R;
      SpatialMap(5,5) C;
      TemporalMap(1,1) S;
      TemporalMap(1,1) X';
      TemporalMap(1,1) Y';
      TemporalMap(4,4) K;
      Cluster(4, P);
      TemporalMap(1,1) Y';
      TemporalMap(1,1) R;
      TemporalMap(5,5) C;
      TemporalMap(1,1) S;
      SpatialMap(1,1) K;
      TemporalMap(1,1) X';
    }
  }
  Layer classifier_1 {
    Type: CONV
    Dimensions { K: 1000, C: 1280, Y: 1, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(4,4) K;
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      Cluster(1, P);
      SpatialMap(4,4) K;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(1,1) C;
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
}
