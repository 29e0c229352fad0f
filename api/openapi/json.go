package openapi

import (
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// toJSON converts a YAML document to the JSON that says the same. Objects keep
// the order of their members: a reader's order is the author's.
func toJSON(text []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	return appendJSON(nil, &document)
}

// appendJSON appends a node's value.
func appendJSON(dst []byte, node *yaml.Node) ([]byte, error) {
	switch node.Kind {
	case yaml.DocumentNode:
		return appendJSON(dst, node.Content[0])
	case yaml.AliasNode:
		return appendJSON(dst, node.Alias)
	case yaml.MappingNode:
		return appendObject(dst, node)
	case yaml.SequenceNode:
		dst = append(dst, '[')
		var err error
		for i, element := range node.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendJSON(dst, element); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case yaml.ScalarNode:
		return appendScalar(dst, node)
	}
	return nil, fmt.Errorf("line %d: no JSON for a node of this kind", node.Line)
}

func appendObject(dst []byte, node *yaml.Node) ([]byte, error) {
	dst = append(dst, '{')
	for i := 0; i < len(node.Content); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		name, err := json.Marshal(node.Content[i].Value)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, name...), ':')
		if dst, err = appendJSON(dst, node.Content[i+1]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendScalar(dst []byte, node *yaml.Node) ([]byte, error) {
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", node.Line, err)
	}
	return append(dst, text...), nil
}
