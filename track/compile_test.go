package track

import (
	"reflect"
	"slices"
	"testing"
)

// TestEveryFieldOfAClassIsCompiled changes one field of a class at a time. Each must change
// the control or the table of ports.
func TestEveryFieldOfAClassIsCompiled(t *testing.T) {
	values := map[string]any{
		"Proto": UDP, "Set": SYN, "Clear": ACK, "Fragments": true, "Ports": []uint16{53}, "Bytes": true, "Level": 1,
	}
	for n := range reflect.TypeFor[Class]().NumField() {
		name := reflect.TypeFor[Class]().Field(n).Name
		value, ok := values[name]
		if !ok {
			t.Fatalf("Class.%s: add a value to this test", name)
		}
		before := Class{Proto: TCP}
		after := before
		reflect.ValueOf(&after).Elem().Field(n).Set(reflect.ValueOf(value))
		control, ports := written(before)
		changed, changedPorts := written(after)
		if control == changed && slices.Equal(ports, changedPorts) {
			t.Errorf("%s: %+v and %+v compile to the same memory", name, before, after)
		}
	}
}

func written(c Class) (Control, []uint16) {
	var control Control
	ports := make([]uint16, 1<<16)
	compiled := Compile([]Class{c})
	compiled.write(&control, ports)
	return control, ports
}

// write leaves nothing of the previous classes.
func TestWriteReplaces(t *testing.T) {
	var control Control
	ports := make([]uint16, 1<<16)
	before := Compile([]Class{{Ports: []uint16{53}, Bytes: true}, {Proto: TCP, Level: 1}})
	before.write(&control, ports)
	after := Compile([]Class{{Proto: UDP}})
	after.write(&control, ports)
	want, wantPorts := written(Class{Proto: UDP})
	if control != want || !slices.Equal(ports, wantPorts) {
		t.Error("something of the previous classes is left")
	}
}
