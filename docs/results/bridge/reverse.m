Network network {
  Layer features_0_0 {
    Type: CONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 32, C: 3, Y: 226, X: 226, R: 3, S: 3 }
    Dataflow {
      TemporalMap(8,8) Y';
      TemporalMap(56,56) X';
      SpatialMap(1,1) K;
      TemporalMap(3,3) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(4, P);
      TemporalMap(1,1) K;
      TemporalMap(8,8) Y';
      SpatialMap(14,14) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      TemporalMap(3,3) C;
      Cluster(4, P);
      TemporalMap(1,1) K;
      SpatialMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      TemporalMap(1,1) C;
    }
  }
  Layer features_1_conv_0_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 32, Y: 114, X: 114, R: 3, S: 3 }
    Dataflow {
      TemporalMap(41,41) Y';
      SpatialMap(10,10) X';
      TemporalMap(16,16) C;
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(41,41) Y';
      TemporalMap(10,10) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_1_conv_1 {
    Type: CONV
    Dimensions { K: 16, C: 32, Y: 12544, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(224,224) Y';
      TemporalMap(32,32) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(16, P);
      TemporalMap(1,1) K;
      SpatialMap(1,1) Y';
      TemporalMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_2_conv_0_0 {
    Type: CONV
    Dimensions { K: 96, C: 16, Y: 12544, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(3,3) K;
      TemporalMap(84,84) Y';
      TemporalMap(16,16) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_2_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 96, Y: 114, X: 114, R: 3, S: 3 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(28,28) Y';
      SpatialMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(28,28) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_2_conv_2 {
    Type: CONV
    Dimensions { K: 24, C: 96, Y: 3136, X: 1, R: 1, S: 1 }
    Dataflow {
      TemporalMap(24,24) K;
      SpatialMap(2,2) Y';
      TemporalMap(96,96) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_3_conv_0_0 {
    Type: CONV
    Dimensions { K: 144, C: 24, Y: 3136, X: 1, R: 1, S: 1 }
    Dataflow {
      TemporalMap(112,112) Y';
      SpatialMap(5,5) K;
      TemporalMap(24,24) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(16, P);
      SpatialMap(1,1) Y';
      TemporalMap(1,1) K;
      TemporalMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_3_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 144, Y: 58, X: 58, R: 3, S: 3 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(29,29) Y';
      SpatialMap(14,14) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(29,29) Y';
      TemporalMap(14,14) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_3_conv_2 {
    Type: CONV
    Dimensions { K: 24, C: 144, Y: 3136, X: 1, R: 1, S: 1 }
    Dataflow {
      TemporalMap(24,24) K;
      SpatialMap(2,2) Y';
      TemporalMap(144,144) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_4_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 144, Y: 58, X: 58, R: 3, S: 3 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(28,28) Y';
      SpatialMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(28,28) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_4_conv_2 {
    Type: CONV
    Dimensions { K: 32, C: 144, Y: 784, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(52,52) Y';
      TemporalMap(80,80) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_5_conv_0_0 {
    Type: CONV
    Dimensions { K: 192, C: 32, Y: 784, X: 1, R: 1, S: 1 }
    Dataflow {
      TemporalMap(55,55) Y';
      SpatialMap(4,4) K;
      TemporalMap(32,32) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_5_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 192, Y: 30, X: 30, R: 3, S: 3 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(28,28) Y';
      SpatialMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(28,28) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_5_conv_2 {
    Type: CONV
    Dimensions { K: 32, C: 192, Y: 784, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(52,52) Y';
      TemporalMap(96,96) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_7_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 192, Y: 30, X: 30, R: 3, S: 3 }
    Dataflow {
      TemporalMap(16,16) C;
      TemporalMap(14,14) Y';
      SpatialMap(5,5) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(16, P);
      SpatialMap(1,1) C;
      TemporalMap(14,14) Y';
      TemporalMap(5,5) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_7_conv_2 {
    Type: CONV
    Dimensions { K: 64, C: 192, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(24,24) Y';
      TemporalMap(96,96) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_8_conv_0_0 {
    Type: CONV
    Dimensions { K: 384, C: 64, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(98,98) Y';
      TemporalMap(64,64) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_8_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 384, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      TemporalMap(32,32) C;
      TemporalMap(14,14) Y';
      SpatialMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(32, P);
      SpatialMap(1,1) C;
      TemporalMap(14,14) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_8_conv_2 {
    Type: CONV
    Dimensions { K: 64, C: 384, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(24,24) Y';
      TemporalMap(192,192) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_11_conv_2 {
    Type: CONV
    Dimensions { K: 96, C: 384, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(3,3) K;
      TemporalMap(24,24) Y';
      TemporalMap(192,192) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_12_conv_0_0 {
    Type: CONV
    Dimensions { K: 576, C: 96, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(98,98) Y';
      TemporalMap(96,96) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_12_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 576, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      TemporalMap(32,32) C;
      TemporalMap(14,14) Y';
      SpatialMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(32, P);
      SpatialMap(1,1) C;
      TemporalMap(14,14) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_12_conv_2 {
    Type: CONV
    Dimensions { K: 96, C: 576, Y: 196, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(3,3) K;
      TemporalMap(21,21) Y';
      TemporalMap(288,288) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_14_conv_1_0 {
    Type: DSCONV
    Stride { X: 2, Y: 2 }
    Dimensions { K: 1, C: 576, Y: 16, X: 16, R: 3, S: 3 }
    Dataflow {
      SpatialMap(1,1) C;
      TemporalMap(7,7) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_14_conv_2 {
    Type: CONV
    Dimensions { K: 160, C: 576, Y: 49, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(49,49) Y';
      TemporalMap(288,288) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_15_conv_0_0 {
    Type: CONV
    Dimensions { K: 960, C: 160, Y: 49, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(49,49) Y';
      TemporalMap(80,80) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_15_conv_1_0 {
    Type: DSCONV
    Dimensions { K: 1, C: 960, Y: 9, X: 9, R: 3, S: 3 }
    Dataflow {
      SpatialMap(1,1) C;
      TemporalMap(7,7) Y';
      TemporalMap(7,7) X';
      TemporalMap(3,3) R;
      TemporalMap(3,3) S;
      Cluster(3, P);
      TemporalMap(1,1) C;
      TemporalMap(1,1) Y';
      TemporalMap(1,1) X';
      TemporalMap(3,3) R;
      SpatialMap(1,1) S;
    }
  }
  Layer features_15_conv_2 {
    Type: CONV
    Dimensions { K: 160, C: 960, Y: 49, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(49,49) Y';
      TemporalMap(480,480) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_17_conv_2 {
    Type: CONV
    Dimensions { K: 320, C: 960, Y: 49, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(1,1) K;
      TemporalMap(49,49) Y';
      TemporalMap(480,480) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer features_18_0 {
    Type: CONV
    Dimensions { K: 1280, C: 320, Y: 49, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(49,49) Y';
      TemporalMap(160,160) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(8, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
  Layer classifier_1 {
    Type: CONV
    Dimensions { K: 1000, C: 1280, Y: 1, X: 1, R: 1, S: 1 }
    Dataflow {
      SpatialMap(2,2) K;
      TemporalMap(1,1) Y';
      TemporalMap(640,640) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
      Cluster(16, P);
      TemporalMap(1,1) K;
      TemporalMap(1,1) Y';
      SpatialMap(1,1) C;
      TemporalMap(1,1) X';
      TemporalMap(1,1) R;
      TemporalMap(1,1) S;
    }
  }
}
