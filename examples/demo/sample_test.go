package main

import (
	"net/netip"
	"testing"
)

func TestSampleIsOfTheListAndOfItsNeighbours(t *testing.T) {
	const file = "../ipsum-level3.txt"
	list, err := readList(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10_000 {
		t.Errorf("%s has %d addresses; too few for a demonstration", file, len(list))
	}
	listed := make(map[netip.Addr]bool)
	for _, a := range list {
		listed[a] = true
	}
	s, err := chooseSample(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.listed) != sampleSize || len(s.unlisted) != sampleSize {
		t.Errorf("got %d listed and %d unlisted addresses, want %d of each", len(s.listed), len(s.unlisted), sampleSize)
	}
	seen := make(map[netip.Addr]bool)
	for i := range s.listed {
		if !listed[s.listed[i]] {
			t.Errorf("%s is not listed", s.listed[i])
		}
		if listed[s.unlisted[i]] {
			t.Errorf("%s is listed", s.unlisted[i])
		}
		if seen[s.listed[i]] || seen[s.unlisted[i]] {
			t.Errorf("%s or %s sends twice", s.listed[i], s.unlisted[i])
		}
		seen[s.listed[i]], seen[s.unlisted[i]] = true, true
	}
}
