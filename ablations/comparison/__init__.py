"""Results held against yardsticks and each other: numbers, words and claims."""
