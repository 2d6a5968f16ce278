package batch

import (
	"fmt"
	"slices"
)

// part is some of the devices, which are asked for together and lie in one file.
type part struct {
	number int
	items  []int
	done   bool
	record record // if done
}

// state is how far a batch has come, by its journal.
type state struct {
	parts    []part          // by number, from 1
	assigned []bool          // by item: whether any part has it
	refused  map[int]refused // items whose last answer was a refusal
	manifest string          // SHA-256 of the one that was signed last
}

// stateOf reads the records of a journal about so many items.
func stateOf(records []record, count int) (*state, error) {
	s := &state{assigned: make([]bool, count), refused: make(map[int]refused)}
	for i, r := range records {
		if err := s.take(r, count); err != nil {
			return nil, fmt.Errorf("line %d of the journal: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *state) take(r record, count int) error {
	switch {
	case r.Manifest != "":
		s.manifest = r.Manifest
		return nil
	case !r.Done:
		if r.Part != len(s.parts)+1 {
			return fmt.Errorf("part %d follows part %d", r.Part, len(s.parts))
		}
		p := part{number: r.Part}
		for _, run := range r.Items {
			if run[0] < 0 || run[1] < 1 || run[1] > maxPart || run[0]+run[1] > count || len(p.items)+run[1] > maxPart {
				return fmt.Errorf("part %d has items that there are not", r.Part)
			}
			for n := run[0]; n < run[0]+run[1]; n++ {
				if _, again := s.refused[n]; s.assigned[n] && !again {
					return fmt.Errorf("part %d has item %d, which another has", r.Part, n)
				}
				s.assigned[n] = true
				delete(s.refused, n)
				p.items = append(p.items, n)
			}
		}
		s.parts = append(s.parts, p)
		return nil
	}
	if r.Part < 1 || r.Part > len(s.parts) || s.parts[r.Part-1].done {
		return fmt.Errorf("part %d ends, and does not run", r.Part)
	}
	p := &s.parts[r.Part-1]
	for _, one := range r.Refused {
		if !slices.Contains(p.items, one.Item) {
			return fmt.Errorf("part %d says of item %d that it was refused, and does not have it", r.Part, one.Item)
		}
		s.refused[one.Item] = one
	}
	p.done, p.record = true, r
	return nil
}

// open are the parts that were begun and not ended.
func (s *state) open() []part {
	return slices.DeleteFunc(slices.Clone(s.parts), func(p part) bool { return p.done })
}

// unanswered counts the items of the parts that are open.
func (s *state) unanswered() (n int) {
	for _, p := range s.open() {
		n += len(p.items)
	}
	return n
}

// next are the items that are still to be asked for, in parts of that size: what nobody asked
// for yet, then what was refused.
func (s *state) next(size int) [][]int {
	var fresh, again []int
	for n, assigned := range s.assigned {
		if !assigned {
			fresh = append(fresh, n)
		} else if _, refused := s.refused[n]; refused {
			again = append(again, n)
		}
	}
	return slices.Concat(slices.Collect(slices.Chunk(fresh, size)), slices.Collect(slices.Chunk(again, size)))
}

// issued counts certificates, and those of them that were there before they were asked for.
func (s *state) issued() (all, prior int) {
	for _, p := range s.parts {
		all, prior = all+p.record.Issued, prior+p.record.Prior
	}
	return all, prior
}

// unasked counts the items that no part has.
func (s *state) unasked() (n int) {
	for _, assigned := range s.assigned {
		if !assigned {
			n++
		}
	}
	return n
}
