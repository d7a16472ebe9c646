//! Services, endpoints and names to rules and answers.
