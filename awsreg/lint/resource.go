package lint

import (
	"strings"
)

// resource is a resource of a stack: written in CloudFormation, or made by a
// construct of the CDK.
type resource struct {
	kind     string // of CloudFormation
	id       string // logical id
	variable string // that a construct is assigned to
	line     int
	props    *node
}

// constructs are the CDK's names for what has rules here.
var constructs = map[string]string{
	"CfnProvisioningTemplate": "AWS::IoT::ProvisioningTemplate",
	"CfnTopicRule":            "AWS::IoT::TopicRule",
	"CfnCACertificate":        "AWS::IoT::CACertificate",
	"Function":                "AWS::Lambda::Function",
	"PythonFunction":          "AWS::Lambda::Function",
	"CfnFunction":             "AWS::Lambda::Function",
	"CfnPermission":           "AWS::Lambda::Permission",
	"addPermission":           "AWS::Lambda::Permission",
	"add_permission":          "AWS::Lambda::Permission",
	"Role":                    "AWS::IAM::Role",
	"CfnRole":                 "AWS::IAM::Role",
	"Rule":                    "AWS::Events::Rule",
	"CfnRule":                 "AWS::Events::Rule",
	"AwsCustomResource":       "Custom::AWS",
}

// stackResources lists the resources of a CloudFormation template.
func stackResources(doc *node) []resource {
	var list []resource
	for _, m := range doc.get("Resources").members0() {
		kind := m.value.get("Type").str()
		if kind == "AWS::Serverless::Function" {
			kind = "AWS::Lambda::Function"
		}
		list = append(list, resource{kind: kind, id: m.name, line: m.line, props: m.value.get("Properties")})
	}
	return list
}

// codeResources lists the constructs that code makes.
func codeResources(all *node) []resource {
	var list []resource
	all.walk(func(n *node) {
		previous := ""
		for _, item := range n.items {
			if item.is(call) {
				if r, ok := construct(item); ok {
					if r.variable == "" {
						r.variable = previous
					}
					list = append(list, r)
				}
			}
			previous = ""
			if item.is(unknown) {
				previous = last(item.text)
			}
		}
		for _, m := range n.members {
			if m.value.is(call) {
				if r, ok := construct(m.value); ok {
					list = append(list, r)
				}
			}
		}
	})
	return list
}

func construct(c *node) (resource, bool) {
	name := last(c.text)
	kind, ok := constructs[name]
	if name == "CfnPolicy" && !strings.Contains(strings.ToLower(c.text), "iam") {
		kind, ok = "AWS::IoT::Policy", true
	}
	if !ok {
		return resource{}, false
	}
	r := resource{kind: kind, line: c.line, props: c}
	for _, item := range c.items {
		if item.is(text) && r.id == "" {
			r.id = item.text
		}
		if item.is(object) {
			r.props = item
		}
	}
	if strings.EqualFold(strings.ReplaceAll(name, "_", ""), "addpermission") {
		r.variable = last(strings.TrimSuffix(c.text, "."+name))
		return r, true
	}
	// A construct has a scope and an id, whatever else is called so.
	return r, len(c.items) >= 2
}

// named reports whether a value refers to a resource.
func (r resource) named(n *node) bool {
	if n == nil {
		return false
	}
	found := false
	n.walk(func(n *node) {
		switch {
		case n.kind == unknown || n.kind == call:
			for _, part := range strings.Split(n.text, ".") {
				found = found || part != "" && part == r.variable
			}
		case n.kind == text:
			v := n.text
			found = found || v == r.id && r.id != "" || r.id != "" && strings.Contains(v, "${"+r.id) ||
				r.variable != "" && (strings.Contains(v, "."+r.variable+".") || strings.Contains(v, "${"+r.variable+"."))
			if name := r.props.get("FunctionName").str(); name != "" && strings.HasSuffix(v, ":function:"+name) {
				found = true
			}
		}
	})
	return found
}
