package main
import ("context";"github.com/paraxial/paraxial/tests/lab")
func measureLoads(ctx context.Context, q bool, b lab.Binaries, log logger) (a,c,d []int, err error) { return }
