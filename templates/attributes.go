package templates

import "github.com/a-h/templ"

// attributes are those that every kind of input has.
func attributes(f Field) templ.OrderedAttributes {
	list := templ.OrderedAttributes{{Key: "id", Value: f.ID()}, {Key: "name", Value: f.Name}}
	if f.Mono {
		list = append(list, templ.KeyValue[string, any]{Key: "class", Value: "mono"})
	}
	if d := f.Describes(); d != "" {
		list = append(list, templ.KeyValue[string, any]{Key: "aria-describedby", Value: d})
	}
	if f.Error != "" {
		list = append(list, templ.KeyValue[string, any]{Key: "aria-invalid", Value: "true"})
	}
	return list
}
