module doorbuster.example/checkout

go 1.19
