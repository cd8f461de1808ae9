"""The commands of dali-tokenmix, a module each, and what they need."""
