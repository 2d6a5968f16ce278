package lint

import (
	"maps"
	"path"
	"slices"
	"strings"

	"mintmark/internal/pattern"
)

// together checks what files say of each other.
func (c *checker) together() {
	c.sameSubject()
	c.parameters()
	c.prose()
	for _, u := range c.units {
		for _, r := range u.resources {
			if r.kind == "AWS::Lambda::Function" {
				u.handler(r, c.units, "")
			}
		}
	}
}

// sameSubject counts CAs of one name.
func (c *checker) sameSubject() {
	const most = 10
	files := map[string]*unit{}
	count := map[string]int{}
	for _, u := range c.units {
		if len(u.chain) == 0 || !u.chain[0].IsCA {
			continue
		}
		subject := string(u.chain[0].RawSubject)
		count[subject]++
		if files[subject] == nil {
			files[subject] = u
		}
		if count[subject] == most+1 {
			u.about("CA certificate %q", cut(u.chain[0].Subject.CommonName))
			u.add("same-subject", 0, "more than ten CAs have this subject, the first in %s; an account takes ten: give the next one another subject, or delete those that are retired", files[subject].file)
		}
	}
}

// parameters compares what hooks read with what templates declare.
func (c *checker) parameters() {
	declared := map[string]bool{}
	templates := 0
	for _, u := range c.units {
		for _, t := range u.templates {
			templates++
			for _, name := range t.declared {
				declared[name] = true
			}
		}
	}
	if templates == 0 {
		return
	}
	for _, u := range c.units {
		if u.hook == nil {
			continue
		}
		u.about("hook")
		for _, name := range slices.Sorted(maps.Keys(u.hook.reads)) {
			if !declared[name] {
				u.add("hook-parameter", u.hook.reads[name], "it reads parameter %s, which no template declares: they have %s", cut(name), strings.Join(slices.Sorted(maps.Keys(declared)), ", "))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(u.hook.overrides)) {
			if !declared[name] {
				u.add("hook-parameter", u.hook.overrides[name], "it sets parameter %s, which no template declares", cut(name))
			}
		}
	}
}

var serialWord = pattern.New(`\b[A-Za-z]*Serial[A-Za-z]*\b`)

// prose compares what a README names with what templates declare and schedules do.
func (c *checker) prose() {
	serials := map[string]bool{}
	for _, u := range c.units {
		for _, t := range u.templates {
			for _, name := range t.serials {
				serials[name] = true
			}
		}
	}
	for _, u := range c.units { // without a template it is what hooks read
		if u.hook == nil || len(serials) > 0 {
			continue
		}
		for name := range u.hook.reads {
			if strings.Contains(name, "Serial") {
				serials[name] = true
			}
		}
	}
	if len(serials) == 0 {
		return
	}
	for _, u := range c.units {
		if u.format != formatText {
			continue
		}
		u.about("prose")
		for i, line := range strings.Split(string(u.data), "\n") {
			for _, name := range serialWord.FindAllString(line, -1) {
				if !serials[name] && !serials[strings.TrimSuffix(name, "s")] && name != "Serial" {
					u.add("prose-parameter", i+1, "it speaks of %s, and template and hook call it %s", cut(name), strings.Join(slices.Sorted(maps.Keys(serials)), ", "))
				}
			}
		}
	}
}

// handler checks that a function's handler is there: the file that it names, and
// the function in it. Module is the file's name where the code stands in the stack.
func (u *unit) handler(r resource, units []*unit, module string) {
	h := r.props.get("Handler")
	run := runtimeName(r.props.get("Runtime"))
	python, node := strings.HasPrefix(run, "python"), strings.HasPrefix(run, "nodejs")
	if !known(h) || !python && !node {
		return
	}
	inlineCode := r.props.at("Code", "ZipFile") != nil || r.props.get("InlineCode") != nil
	if module == "" && inlineCode {
		return // was looked at with the code
	}
	u.about("function %s", quoted(r.id))
	dot := strings.LastIndexByte(h.text, '.')
	if dot <= 0 {
		u.add("lambda-handler", h.line, "the handler %q is not file.function", cut(h.text))
		return
	}
	file, name := path.Base(strings.ReplaceAll(h.text[:dot], ".", "/")), h.text[dot+1:]
	if module != "" {
		if file != module {
			u.add("lambda-handler", h.line, "the handler is %q, and code that stands in the stack is in a file called %s: it would be %s.%s", cut(h.text), module, module, name)
			return
		}
	}
	var candidates []string
	for _, other := range units {
		if other.format != formatCode && module == "" || other.python != python || len(other.resources) > 0 && module == "" {
			continue
		}
		base := strings.TrimSuffix(path.Base(other.file), path.Ext(other.file))
		if base != file && module == "" {
			candidates = append(candidates, path.Base(other.file))
			continue
		}
		if len(functions(other.statements)) > 0 && !slices.ContainsFunc(functions(other.statements), func(f *function) bool { return f.name == name }) && !other.mentionsName(name) {
			u.add("lambda-handler", h.line, "the handler is %q, and %s has no function %s", cut(h.text), path.Base(other.file), name)
		}
		return
	}
	if len(candidates) > 0 {
		u.add("lambda-handler", h.line, "the handler is %q, and there is no file %s, only %s: every call would fail with an import error, and every device be refused", cut(h.text), file, strings.Join(candidates, ", "))
	}
}

func (u *unit) mentionsName(name string) bool {
	return slices.ContainsFunc(u.tokens, func(t token) bool { return t.name(name) })
}
