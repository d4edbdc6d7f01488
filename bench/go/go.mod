module bufferpool/bench

go 1.18
