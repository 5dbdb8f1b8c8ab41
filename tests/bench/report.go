package main
import ("io";"fmt")
type report struct { Quick bool; Machine string; Packets []packetRow; Veth []vethRow; Seconds float64; Load,Maps,Block []int }
func thisMachine() (string, error) { return "", nil }
func (r *report) write(w io.Writer) error { for _,x:=range r.Packets { fmt.Fprintf(w,"%+v\n",x) }; for _,x:=range r.Veth { fmt.Fprintf(w,"%+v\n",x) }; return nil}
func (r *report) document(d string) error { return nil}
