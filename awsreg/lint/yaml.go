package lint

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parseYAML reads one YAML document, with CloudFormation's tags spelled out: !Ref
// x becomes {Ref: x}, !GetAtt a.b becomes {Fn::GetAtt: [a, b]}. Aliases are not
// followed, so that no document grows by being read.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
func parseYAML(data []byte) (n *node, err error) {
	// The parser is not ours: should it panic, what a stranger wrote must not end
	// the program.
	defer func() {
		if p := recover(); p != nil {
			n, err = nil, errors.New("is no YAML that could be read")
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, yamlWords(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, fmt.Errorf("has %d YAML documents, not one", len(file.Docs))
	}
	return yamlNode(file.Docs[0].Body, 0)
}

// yamlWords keeps the first line of the parser's message: the rest of it draws
// the place.
func yamlWords(err error) error {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(first)
}

func yamlNode(y ast.Node, depth int) (*node, error) {
	if depth >= maxDepth {
		return nil, errDeep
	}
	n := &node{kind: unknown}
	if y == nil {
		return &node{kind: null}, nil
	}
	if t := y.GetToken(); t != nil && t.Position != nil {
		n.line = t.Position.Line
	}
	switch v := y.(type) {
	case *ast.MappingNode:
		return n, n.mapping(v.Values, depth)
	case *ast.MappingValueNode:
		return n, n.mapping([]*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		n.kind = array
		for _, e := range v.Values {
			item, err := yamlNode(e, depth+1)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, item)
		}
	case *ast.TagNode:
		return tagged(n, v, depth)
	case *ast.AnchorNode:
		return yamlNode(v.Value, depth+1)
	case *ast.StringNode:
		n.kind, n.text = text, v.Value
	case *ast.LiteralNode:
		n.kind = text
		if v.Value != nil {
			n.text, n.line = v.Value.Value, n.line+1
		}
	case *ast.IntegerNode, *ast.FloatNode:
		n.kind, n.text = number, y.GetToken().Value
	case *ast.BoolNode:
		n.kind, n.text = boolean, fmt.Sprint(v.Value)
	case *ast.NullNode:
		n.kind = null
	}
	return n, nil
}

func (n *node) mapping(values []*ast.MappingValueNode, depth int) error {
	n.kind = object
	for _, v := range values {
		m := member{line: n.line}
		if t := v.Key.GetToken(); t != nil {
			m.name = t.Value
			if t.Position != nil {
				m.line = t.Position.Line
			}
		}
		var err error
		if m.value, err = yamlNode(v.Value, depth+1); err != nil {
			return err
		}
		n.members = append(n.members, m)
	}
	if len(n.members) > 0 {
		n.line = n.members[0].line
	}
	return nil
}

// tagged spells a short form out.
func tagged(n *node, v *ast.TagNode, depth int) (*node, error) {
	value, err := yamlNode(v.Value, depth+1)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(v.Start.Value, "!")
	switch {
	case name == "Ref", name == "Condition":
	case name == "GetAtt":
		name = "Fn::GetAtt"
		if value.is(text) {
			resource, attribute, _ := strings.Cut(value.text, ".")
			value = &node{kind: array, line: value.line, items: []*node{
				{kind: text, line: value.line, text: resource}, {kind: text, line: value.line, text: attribute}}}
		}
	case name == "" || strings.HasPrefix(name, "!"): // YAML's own, as in !!str
		return value, nil
	default:
		name = "Fn::" + name
	}
	n.kind, n.members = object, []member{{name, n.line, value}}
	return n, nil
}
