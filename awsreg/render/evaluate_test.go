package render_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// noValue is what takes an attribute away.
type noValue struct{}

// evaluation is a CloudFormation template with parameters, as far as these
// templates go.
type evaluation struct {
	t          *testing.T
	parameters map[string]any
	conditions ast.Node
}

// evaluate returns the resources that a template makes.
func evaluate(t *testing.T, text string, given map[string]string) map[string]any {
	t.Helper()
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	root := file.Docs[0].Body
	e := &evaluation{t: t, parameters: map[string]any{"AWS::NoValue": noValue{}}, conditions: child(root, "Conditions")}
	for name, p := range e.value(child(root, "Parameters")).(map[string]any) {
		e.parameters[name] = p.(map[string]any)["Default"]
	}
	for name, value := range given {
		e.parameters[name] = value
	}
	resources := e.value(child(root, "Resources")).(map[string]any)
	for name, r := range resources {
		if c, ok := r.(map[string]any)["Condition"]; ok && e.value(child(e.conditions, c.(string))) != true {
			delete(resources, name)
		}
	}
	return resources
}

func child(n ast.Node, key string) ast.Node {
	for _, v := range entries(n) {
		if v.Key.String() == key {
			return v.Value
		}
	}
	return nil
}

func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func (e *evaluation) value(n ast.Node) any {
	switch n := n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		m := make(map[string]any)
		for _, v := range entries(n) {
			value := e.value(v.Value)
			if _, gone := value.(noValue); !gone {
				m[v.Key.String()] = value
			}
		}
		return m
	case *ast.SequenceNode:
		list := []any{}
		for _, v := range n.Values {
			value := e.value(v)
			if _, gone := value.(noValue); !gone {
				list = append(list, value)
			}
		}
		return list
	case *ast.StringNode:
		return n.Value
	case *ast.TagNode:
		return e.call(n)
	}
	return n.String()
}

func (e *evaluation) call(n *ast.TagNode) any {
	argument := func(i int) any { return e.value(n.Value.(*ast.SequenceNode).Values[i]) }
	switch n.Start.Value {
	case "!Ref":
		name := e.value(n.Value).(string)
		if value, ok := e.parameters[name]; ok {
			return value
		}
		return name
	case "!If":
		if e.value(child(e.conditions, argument(0).(string))) == true {
			return argument(1)
		}
		return argument(2)
	case "!Equals":
		return argument(0) == argument(1)
	case "!Not":
		return argument(0) != true
	case "!Sub":
		text := fmt.Sprint(e.value(n.Value))
		for name, value := range e.parameters {
			text = strings.ReplaceAll(text, "${"+name+"}", fmt.Sprint(value))
		}
		return text
	}
	return fmt.Sprint(e.value(n.Value))
}

// TestRotationTable: no function is told of a rotation table that `apply` does not
// make, nor may use it; with rotation all that need it know it.
func TestRotationTable(t *testing.T) {
	for _, rotates := range []bool{true, false} {
		in := everything()
		if !rotates {
			in.Target.Rotation = nil
			for i := range in.Target.Fleets {
				in.Target.Fleets[i].RotationHook = ""
			}
		}
		got := files(t, in)
		functions := 0
		for _, stack := range []struct{ name, file string }{
			{"fleet-press", "fleet.yaml"}, {"fleet-pump", "fleet.yaml"}, {"rotation", "rotation.yaml"}, {"provider", "provider.yaml"},
		} {
			text, ok := got["mintmark-line-a-"+stack.name+".parameters.json"]
			if ok == (stack.name == "rotation" && !rotates) {
				t.Fatalf("stack %s: %v", stack.name, ok)
			}
			if !ok {
				continue
			}
			var p struct{ Parameters map[string]string }
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			for name, r := range evaluate(t, got[stack.file], p.Parameters) {
				r := r.(map[string]any)
				properties, _ := r["Properties"].(map[string]any)
				switch r["Type"] {
				case "AWS::Lambda::Function":
					functions++
					table, has := properties["Environment"].(map[string]any)["Variables"].(map[string]any)["MINTMARK_ROTATION_TABLE"]
					if has != rotates || has && table != "mintmark-rotation" {
						t.Errorf("rotation %v: %s of stack %s: table %v", rotates, name, stack.name, table)
					}
				case "AWS::IAM::Role":
					text := fmt.Sprint(properties["Policies"])
					if strings.Contains(text, "table/mintmark-rotation") && !rotates {
						t.Errorf("%s of stack %s may use a rotation table that is not there: %s", name, stack.name, text)
					}
				}
			}
		}
		if want := map[bool]int{true: 2*2 + 2 + 1, false: 2 + 1}[rotates]; functions != want {
			t.Errorf("rotation %v: %d functions, want %d", rotates, functions, want)
		}
	}
}
