package main

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mintmark/awsreg/awssim"
)

// simOptions are the flags of sim aws that say how the cloud behaves.
type simOptions struct {
	config      awssim.Config
	functions   []string
	environment []string
	timeouts    []string
	buckets     []string
	faults      []string
	quotas      bool
	scale       float64
}

func (o *simOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.functions, "function", nil, "Lambda function as `NAME=PATH` of its bootstrap; may be repeated")
	f.StringArrayVar(&o.environment, "function-env", nil, "`[NAME/]KEY=VALUE` in the environment of the function NAME, or of every function; may be repeated")
	f.StringArrayVar(&o.timeouts, "function-timeout", nil, "time-out of a function as `NAME=DURATION`, at most 15m (default 30s); may be repeated")
	f.StringArrayVar(&o.buckets, "bucket", nil, "S3 bucket as `NAME=DIRECTORY`, whose files are its objects; may be repeated (others are made in --state)")
	f.BoolVar(&o.quotas, "quotas", false, "throttle calls to AWS's table of quotas")
	f.Float64Var(&o.scale, "quota-scale", 1, "with --quotas: `factor` of every quota")
	f.StringArrayVar(&o.faults, "fault", nil, "fault as `JSON`, as POST /_sim/faults takes it; may be repeated")
}

// parse fills the configuration and returns the faults.
func (o *simOptions) parse() ([]awssim.Fault, error) {
	var err error
	if o.config.Functions, err = parseFunctions(o.functions, o.environment); err != nil {
		return nil, err
	}
	if err = setTimeouts(o.config.Functions, o.timeouts); err != nil {
		return nil, err
	}
	if o.config.Buckets, err = parseBuckets(o.buckets); err != nil {
		return nil, err
	}
	switch {
	case o.quotas && o.scale <= 0:
		return nil, usagef("--quota-scale %v is not more than 0", o.scale)
	case o.quotas:
		o.config.Quotas = &awssim.Quotas{Scale: o.scale}
	case o.scale != 1:
		return nil, usagef("--quota-scale without --quotas scales nothing")
	}
	var faults []awssim.Fault
	for _, text := range o.faults {
		f, err := awssim.ParseFault([]byte(text))
		if err != nil {
			return nil, usagef("--fault %q: %v", text, err)
		}
		faults = append(faults, f)
	}
	return faults, nil
}

// parseFunctions reads NAME=PATH and [NAME/]KEY=VALUE. A variable of one function
// wins over the same for all, wherever it stands.
func parseFunctions(list, environment []string) (map[string]awssim.Function, error) {
	functions := make(map[string]awssim.Function)
	for _, text := range list {
		name, path, ok := strings.Cut(text, "=")
		if !ok || name == "" || path == "" {
			return nil, usagef("--function %q is not NAME=PATH", text)
		}
		if _, twice := functions[name]; twice {
			return nil, usagef("--function %s is given twice", name)
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		functions[name] = awssim.Function{Path: absolute}
	}
	var own []string
	for _, text := range environment {
		key, _, ok := strings.Cut(text, "=")
		if !ok || key == "" || strings.HasSuffix(key, "/") || strings.HasPrefix(key, "/") {
			return nil, usagef("--function-env %q is not KEY=VALUE or NAME/KEY=VALUE", text)
		}
		if strings.Contains(key, "/") {
			own = append(own, text)
			continue
		}
		for name, fn := range functions {
			fn.Env = append(fn.Env, text)
			functions[name] = fn
		}
	}
	for _, text := range own {
		name, variable, _ := strings.Cut(text, "/")
		fn, ok := functions[name]
		if !ok {
			return nil, usagef("--function-env %q: there is no --function %s", text, name)
		}
		fn.Env = append(fn.Env, variable)
		functions[name] = fn
	}
	return functions, nil
}

// setTimeouts reads NAME=DURATION into the functions of these names.
func setTimeouts(functions map[string]awssim.Function, list []string) error {
	for _, text := range list {
		name, value, _ := strings.Cut(text, "=")
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return usagef("--function-timeout %q is not NAME=DURATION, as in hook=5s", text)
		}
		fn, ok := functions[name]
		switch {
		case !ok:
			return usagef("--function-timeout %q: there is no --function %s", text, name)
		case fn.Timeout != 0:
			return usagef("--function-timeout of %s is given twice", name)
		}
		fn.Timeout = d
		functions[name] = fn
	}
	return nil
}

// parseBuckets reads NAME=DIRECTORY.
func parseBuckets(list []string) (map[string]string, error) {
	buckets := make(map[string]string)
	for _, text := range list {
		name, dir, ok := strings.Cut(text, "=")
		if !ok || name == "" || dir == "" {
			return nil, usagef("--bucket %q is not NAME=DIRECTORY", text)
		}
		if _, twice := buckets[name]; twice {
			return nil, usagef("--bucket %s is given twice", name)
		}
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		buckets[name] = absolute
	}
	return buckets, nil
}
