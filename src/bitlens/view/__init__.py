"""What a person looks at: heat maps, highlighted words, reports; drawn from finished arrays, never from a network."""
