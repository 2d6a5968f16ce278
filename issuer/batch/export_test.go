package batch

// Room is what the manifest of devices with these names is taken to measure at most.
func Room(plan Plan, names []string) (int64, error) {
	r := room{plan: &plan}
	for _, name := range names {
		if err := r.add(name); err != nil {
			return r.size, err
		}
	}
	return r.size + roomOfRest, nil
}

// SetStep has a function called between all that is written down, and sets how many devices a
// part has.
func (b *Batch) SetStep(step func(string), size int) { b.step, b.size = step, size }
