package doctor

import (
	"slices"
)

// points is the checklist, by number.
var points = slices.SortedFunc(slices.Values(slices.Concat(
	transportPoints, routingPoints, encodingPoints, cacertsPoints, authPoints, enrollPoints,
	linkingPoints, renewalPoints, keygenPoints, attributePoints, unbuiltPoints, shapePoints,
)), func(a, b Point) int { return a.Number - b.Number })

// Points returns the checklist in the order of its numbers, which are 1 to 98.
func Points() []Point { return slices.Clone(points) }
