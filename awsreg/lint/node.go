package lint

import "strings"

// kind sorts the nodes of a document.
type kind int

const (
	unknown kind = iota // an expression whose value the text does not show
	object
	array
	text
	number
	boolean
	null
	call // of a function, in code
)

// node is a value of a JSON or YAML document, or of a literal in code, with the
// line where it stands. CloudFormation's short forms (!Ref) are spelled out.
type node struct {
	kind    kind
	line    int
	text    string // of a text, number or boolean; the name of a call
	members []member
	items   []*node
	// partial says that a text has parts which are not shown: it stands for them
	// with ${...}.
	partial bool
}

type member struct {
	name  string
	line  int
	value *node
}

// get is the member of an object, or the named argument of a call, without regard
// to case: CDK writes in lower case what CloudFormation writes in upper case. It
// may be nil, and nodes may be.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if sameName(m.name, name) {
			return m.value
		}
	}
	return nil
}

// sameName compares PolicyDocument, policyDocument and policy_document.
func sameName(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	return strings.Contains(a, "_") && strings.EqualFold(strings.ReplaceAll(a, "_", ""), b)
}

// at walks along names.
func (n *node) at(names ...string) *node {
	for _, name := range names {
		n = n.get(name)
	}
	return n
}

// str is a text's value, and "" of everything else.
func (n *node) str() string {
	if n == nil || n.kind != text && n.kind != number && n.kind != boolean {
		return ""
	}
	return n.text
}

func (n *node) is(k kind) bool { return n != nil && n.kind == k }

// list is what may be written as one value or several.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	if n.kind == array {
		return n.items
	}
	return []*node{n}
}

// function is the name and the argument of an intrinsic function, Ref included.
func (n *node) function() (string, *node) {
	if n == nil || n.kind != object || len(n.members) != 1 {
		return "", nil
	}
	m := n.members[0]
	if m.name == "Ref" || m.name == "Condition" || strings.HasPrefix(m.name, "Fn::") {
		return m.name, m.value
	}
	return "", nil
}

// walk calls fn for a node and everything below it, outermost first.
func (n *node) walk(fn func(*node)) {
	if n == nil {
		return
	}
	fn(n)
	for _, m := range n.members {
		m.value.walk(fn)
	}
	for _, item := range n.items {
		item.walk(fn)
	}
}

// value is the text of a value that may be put together by Fn::Sub, Fn::Join or
// by code. What is not known stands as ${...} in it; nothing is known of the rest.
func (n *node) value() string {
	if n == nil {
		return ""
	}
	switch n.kind {
	case text, number, boolean:
		return n.text
	case object:
		name, arg := n.function()
		switch name {
		case "Ref":
			return "${" + arg.str() + "}"
		case "Fn::GetAtt":
			var parts []string
			for _, p := range arg.list() {
				parts = append(parts, p.str())
			}
			return "${" + strings.Join(parts, ".") + "}"
		case "Fn::Sub":
			format := arg.str()
			if arg.is(array) && len(arg.items) > 0 {
				format = arg.items[0].str()
			}
			return strings.ReplaceAll(format, "${!", "${")
		case "Fn::Join":
			if arg.is(array) && len(arg.items) == 2 {
				var parts []string
				for _, p := range arg.items[1].list() {
					parts = append(parts, p.value())
				}
				return strings.Join(parts, arg.items[0].str())
			}
		case "Fn::If":
			if arg.is(array) && len(arg.items) == 3 {
				return arg.items[1].value()
			}
		}
		return "${" + name + "}"
	case call:
		return "${" + n.text + "}"
	}
	return "${}"
}
