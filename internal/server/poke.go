package server

// poke wakes a worker: many sets before it looks are one.
type poke chan struct{}

// Set wakes the worker. It never blocks.
func (p poke) Set() {
	select {
	case p <- struct{}{}:
	default:
	}
}
