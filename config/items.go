package config

import (
	"github.com/goccy/go-yaml/ast"
)

// itemList is a list in the file whose items are keys with values.
type itemList[T any] struct {
	name    string
	example string // an item, for errors
	decode  func(*decoder, *ast.MappingNode) T
	// complete returns an error for a missing key, or for values that contradict each other.
	complete func(T) error
	// follow returns an error if an item cannot follow those before it.
	follow func([]T, T) error
}

// items decodes a list. A mistake in one value is reported at the value, and one of several
// values at the item.
func (l itemList[T]) items(d *decoder, n ast.Node) []T {
	var list []T
	for _, node := range d.list(l.name, n) {
		m, ok := node.(*ast.MappingNode)
		if !ok {
			d.errorf(node, "%s: got %s; want keys with values, as in - %s", l.name, describe(node), l.example)
			continue
		}
		before := len(d.errs)
		item := l.decode(d, m)
		if len(d.errs) > before {
			continue
		}
		if err := l.checkItem(list, item); err != nil {
			d.errorf(node, "%s: %v", l.name, err)
			continue
		}
		list = append(list, item)
	}
	return list
}

func (l itemList[T]) checkItem(before []T, item T) error {
	if err := l.complete(item); err != nil {
		return err
	}
	return l.follow(before, item)
}

// key returns the key of a list, which a reload applies.
func (l itemList[T]) key(list *[]T) key {
	return key{
		name:   l.name,
		live:   true,
		blank:  true,
		value:  list,
		decode: func(d *decoder, n ast.Node) { *list = l.items(d, n) },
		check: func() error {
			for n, item := range *list {
				if err := l.checkItem((*list)[:n], item); err != nil {
					return named(l.name, err)
				}
			}
			return nil
		},
	}
}
