package batch

// SetStep has a function called between all that is written down, and sets how many devices a
// part has.
func (b *Batch) SetStep(step func(string), size int) { b.step, b.size = step, size }
