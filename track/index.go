package track

// groupAt returns the entries of a group.
func (t *Table) groupAt(group uint32) []uint32 {
	return t.index[group*groupSize : (group+1)*groupSize]
}

// find returns the entry of a key, or nil.
func (t *Table) find(k key) *uint32 {
	p := t.control.place(k, t.control.Groups)
	if at := t.findIn(p.home, p.tag, k); at != nil {
		return at
	}
	return t.findIn(p.second, p.tag, k)
}

func (t *Table) findIn(group, tag uint32, k key) *uint32 {
	entries := t.groupAt(group)
	for i := range entries {
		if e := entries[i]; e&entryTag == tag && t.keyIn(e&entrySlot) == k {
			return &entries[i]
		}
	}
	return nil
}

// insert adds an entry for a slot. If the index is more than half full or has no place
// for the entry, it builds a larger one. It fails only if the index cannot grow.
func (t *Table) insert(id uint32, k key) bool {
	mask := t.control.Groups
	if t.used <= int(mask+1)*groupSize/2 && t.put(mask, id, k) {
		return true
	}
	for groups := (mask + 1) * 2; groups <= t.mostGroups; groups *= 2 {
		if t.build(groups - 1) {
			store(&t.control.Groups, groups-1)
			return true
		}
	}
	return t.put(mask, id, k)
}

// build fills an index of another size with all sources.
func (t *Table) build(mask uint32) bool {
	clear(t.index[(mask+1)*groupSize : 2*(mask+1)*groupSize])
	for id := range t.next {
		if t.tags[id] != 0 && !t.put(mask, id, t.keyIn(id)) {
			return false
		}
	}
	return true
}

// put adds an entry to the index with the given mask.
func (t *Table) put(mask, id uint32, k key) bool {
	p := t.control.place(k, mask)
	if t.putIn(p, p.home, id) || t.putIn(p, p.second, id) {
		return true
	}
	return t.displace(mask, p, p.home, id) || t.displace(mask, p, p.second, id)
}

// putIn adds an entry to one of the two groups of its place, if the group has room and no
// entry with the same tag.
func (t *Table) putIn(p place, group, id uint32) bool {
	entries := t.groupAt(group)
	room := -1
	for i, e := range entries {
		if e&entryTag == p.tag {
			return false
		}
		if e&entryUsed == 0 {
			room = i
		}
	}
	if room < 0 {
		return false
	}
	// The slot is already written. This single store publishes the entry, before the
	// flag below lets readers look for it in the second group.
	store(&entries[room], entries[room]&entrySpilled|p.tag|id)
	if group != p.home {
		first := &t.groupAt(p.home)[0]
		store(first, load(first)|entrySpilled)
	}
	return true
}

// displace moves an entry of the group to its other group, and adds the new entry in its
// place.
func (t *Table) displace(mask uint32, p place, group, id uint32) bool {
	entries := t.groupAt(group)
	for i, e := range entries {
		if e&entryUsed == 0 || !t.alone(entries, i, p.tag) {
			continue
		}
		theirs := t.control.place(t.keyIn(e&entrySlot), mask)
		other := theirs.home
		if group == theirs.home {
			other = theirs.second
		}
		if other == group || !t.putIn(theirs, other, e&entrySlot) {
			continue
		}
		// Readers find the moved entry in the other group now.
		store(&entries[i], entries[i]&entrySpilled)
		return t.putIn(p, group, id)
	}
	return false
}

// alone reports whether no entry other than number i has the tag.
func (t *Table) alone(entries []uint32, i int, tag uint32) bool {
	for j, e := range entries {
		if j != i && e&entryTag == tag {
			return false
		}
	}
	return true
}
