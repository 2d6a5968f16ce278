package lint

import (
	"slices"
	"strings"
)

// cycles finds resources of a CloudFormation template that need each other: by
// Ref, Fn::GetAtt, Fn::Sub or DependsOn. Both sides of an Fn::If count.
// https://aws.amazon.com/blogs/infrastructure-and-automation/handling-circular-dependency-errors-in-aws-cloudformation/
func (u *unit) cycles(doc *node) {
	g := cycleSearch{needs: map[string][]string{}, index: map[string]int{}, low: map[string]int{}, open: map[string]bool{}}
	lines := map[string]int{}
	for _, m := range doc.get("Resources").members0() {
		g.needs[m.name], lines[m.name] = nil, m.line
	}
	for _, m := range doc.get("Resources").members0() {
		for _, name := range needed(m.value) {
			if _, there := g.needs[name]; there {
				g.needs[m.name] = append(g.needs[m.name], name)
			}
		}
	}
	for _, m := range doc.get("Resources").members0() {
		if g.index[m.name] == 0 {
			g.visit(m.name)
		}
	}
	for _, cycle := range g.found {
		u.about("stack")
		u.add("circular", lines[cycle[0]], "[%s] need each other to be there first: write one's name out instead of a reference, or put what joins them into a resource of its own", cut(strings.Join(cycle, ", ")))
	}
}

// needed lists what a resource refers to.
func needed(resource *node) []string {
	var list []string
	for _, n := range resource.get("DependsOn").list() {
		list = append(list, n.str())
	}
	resource.walk(func(n *node) {
		name, arg := n.function()
		switch name {
		case "Ref":
			list = append(list, arg.str())
		case "Fn::GetAtt":
			if parts := arg.list(); len(parts) > 0 {
				id, _, _ := strings.Cut(parts[0].str(), ".")
				list = append(list, id)
			}
		case "Fn::Sub":
			format, own := arg, (*node)(nil) // names that it gives itself
			if arg.is(array) && len(arg.items) > 0 {
				format = arg.items[0]
			}
			if arg.is(array) && len(arg.items) > 1 {
				own = arg.items[1]
			}
			for _, v := range placeholder.FindAllString(format.str(), -1) {
				id, _, _ := strings.Cut(strings.TrimSpace(v[2:len(v)-1]), ".")
				if own.get(id) == nil {
					list = append(list, id)
				}
			}
		}
	})
	return list
}

// cycleSearch finds the strongly connected components of a graph, with Tarjan's
// algorithm; those of one resource count if it needs itself.
type cycleSearch struct {
	needs map[string][]string
	index map[string]int // in the order of visits, from 1
	low   map[string]int // the smallest index that is reached
	path  []string
	open  map[string]bool // on the path
	found [][]string
}

func (g *cycleSearch) visit(name string) {
	g.index[name] = len(g.index) + 1
	g.low[name] = g.index[name]
	g.path, g.open[name] = append(g.path, name), true
	for _, next := range g.needs[name] {
		if g.index[next] == 0 {
			g.visit(next)
			g.low[name] = min(g.low[name], g.low[next])
		} else if g.open[next] {
			g.low[name] = min(g.low[name], g.index[next])
		}
	}
	if g.low[name] != g.index[name] {
		return
	}
	from := len(g.path) - 1 // its component is the end of the path
	for g.path[from] != name {
		from--
	}
	component := slices.Clone(g.path[from:])
	for _, member := range component {
		g.open[member] = false
	}
	g.path = g.path[:from]
	if len(component) > 1 || slices.Contains(g.needs[name], name) {
		g.found = append(g.found, component)
	}
}
